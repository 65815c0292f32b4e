"""Images of 16 bits whose values take 12: one scale from training to the report, whatever the kind of run."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from tests.commands.test_cli import snellen
from tests.hardware import HARDWARE

from snellen import check, evaluate, predict, pretrain, resume, train
from snellen.commands import execution
from snellen.data.leaks import neighbour_notes
from snellen.data.listing import LabelledImage
from snellen.engine.interrupt import StopRequest
from snellen.runs import Run

QUIET = Console(quiet=True)

CLASSES: dict[str, Any] = {
    "task": "classification",
    "name": "digits",
    "epochs": 1,
    "batch_size": 16,
    "model": {"backbone": "airnet", "width": 0.125},
    "augmentation": {"size": 16},
    "evaluation": {"size": 16},
    "hardware": HARDWARE,
    "snapshots": {"images": 8},
}
MASKS: dict[str, Any] = {
    "task": "segmentation",
    "name": "scenes",
    "epochs": 1,
    "batch_size": 4,
    "model": {"architecture": "unet/test_resnet"},
    "optimizer": {"name": "adamw", "lr": 0.003},
    "hardware": HARDWARE,
    "snapshots": {"images": 2},
}
PRETRAINING: dict[str, Any] = {
    "epochs": 1,
    "batch_size": 32,
    "augmentation.size": 16,
    "evaluation.size": 16,
    "evaluation.collapse": "warn",
    "model.width": 0.125,
    "hardware": HARDWARE,
}


def write(path: Path, image: NDArray[np.uint8], bits: int) -> None:
    """Grey levels as values of so many bits, in a file of 16; of 8 in one of 8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image if bits == 8 else image.astype(np.uint16) << (bits - 8)).save(path)


def write_classes(folder: Path, bits: int, suffix: str = "png") -> Path:
    data = load_digits()
    for label in range(3):
        for number, row in enumerate(np.flatnonzero(data.target == label)[:30]):
            image = np.kron((data.images[row] * 15).astype(np.uint8), np.ones((2, 2), np.uint8))
            write(folder / ("val" if number < 8 else "train") / str(label) / f"{number}.{suffix}", image, bits)
    return folder


def write_masks(folder: Path, scenes: Path, bits: int) -> Path:
    """The scenes in grey, with masks of two values: bright or dark."""
    for number, path in enumerate(sorted(scenes.rglob("*_sat.jpg"))):
        grey = np.asarray(Image.open(path).convert("L"))
        part = folder / ("val" if number < 4 else "train")
        write(part / "images" / f"{number}.tif", grey, bits)
        write(part / "masks" / f"{number}.png", (grey > 110).astype(np.uint8), 8)
    return folder


def pictures(page: Path) -> list[NDArray[np.uint8]]:
    """The JPEG pictures of a page."""
    encoded = re.findall(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)", page.read_text(encoding="utf-8"))
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("L")) for text in encoded]


def result_and_output(call: Any, *arguments: Any, **options: Any) -> tuple[Any, str]:
    """A call's result, and what it printed."""
    text = io.StringIO()
    result = call(*arguments, console=Console(file=text, width=1000), **options)
    return result, text.getvalue()


@pytest.fixture(scope="module")
def deep_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("deep"), 12)


@pytest.fixture(scope="module")
def deep_masks(tmp_path_factory: pytest.TempPathFactory, scenes: Path) -> Path:
    return write_masks(tmp_path_factory.mktemp("deep"), scenes, 12)


@pytest.fixture(scope="module")
def trained_run(deep_classes: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(deep_classes, CLASSES, out=tmp_path_factory.mktemp("runs") / "run", console=QUIET)


def test_twelve_bits_train_as_their_upper_eight_would(deep_classes: Path, trained_run: Run, tmp_path: Path) -> None:
    run_of_eight_bits = train(write_classes(tmp_path / "eight", 8), CLASSES, out=tmp_path / "run", console=QUIET)
    assert trained_run.recipe.data.bits == 12
    assert run_of_eight_bits.recipe.data.bits is None
    assert trained_run.data["normalization"] == run_of_eight_bits.data["normalization"]
    np.testing.assert_array_equal(trained_run.validation().probabilities, run_of_eight_bits.validation().probabilities)


def test_masks_train_as_their_upper_eight_would(deep_masks: Path, scenes: Path, tmp_path: Path) -> None:
    text = {}
    runs = {}
    for bits, data in ((12, deep_masks), (8, write_masks(tmp_path / "eight", scenes, 8))):
        runs[bits], text[bits] = result_and_output(train, data, MASKS, out=tmp_path / f"run{bits}")
    assert "12 images with 16 bits and values up to 4," in text[12]
    assert "read as 12 bits" in text[12]
    assert "16 bits" not in text[8]
    assert runs[12].recipe.data.bits == 12
    np.testing.assert_array_equal(runs[12].validation().confusion, runs[8].validation().confusion)
    deep_pictures = pictures(runs[12].path / "report.html")
    plain_pictures = pictures(runs[8].path / "report.html")
    assert len(deep_pictures) == len(plain_pictures) > 2
    assert [picture.mean() for picture in deep_pictures] == [picture.mean() for picture in plain_pictures]
    evaluation, _ = result_and_output(evaluate, runs[12], deep_masks)
    np.testing.assert_array_equal(evaluation.scores.confusion, runs[12].validation().confusion)
    for bits, data in ((12, deep_masks), (8, tmp_path / "eight")):
        predict(runs[12], data / "val" / "images", tmp_path / f"masks{bits}", overlays=True, quiet=True)
    for path in sorted((tmp_path / "masks8").rglob("*.png")):
        same = tmp_path / "masks12" / path.relative_to(tmp_path / "masks8")
        np.testing.assert_array_equal(np.asarray(Image.open(path)), np.asarray(Image.open(same)))


def test_evaluation_prediction_and_report_have_the_scale_of_the_run(
    deep_classes: Path, trained_run: Run, tmp_path: Path
) -> None:
    evaluation, text = result_and_output(evaluate, trained_run, deep_classes)
    assert evaluation.figures.top1 == pytest.approx(trained_run.status.score)
    assert "16 bits" not in text, "nothing to warn of"
    table = predict(trained_run, deep_classes / "val", tmp_path / "p.csv", top_k=1, quiet=True).path.read_text()
    answers = [row.split(",")[:2] for row in table.splitlines()[1:]]
    right = np.mean([Path(path).parent.name == label for path, label in answers])
    assert right == pytest.approx(trained_run.status.score)
    shown_pictures = pictures(trained_run.path / "report.html")
    assert shown_pictures
    assert max(picture.max() for picture in shown_pictures) > 150, "not black"


class StopAtOnce(StopRequest):
    """Asks to stop at the first step."""

    @property
    def requested(self) -> bool:
        return True

    @requested.setter
    def requested(self, value: bool) -> None:
        pass


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "kind", ["classes", pytest.param("masks", marks=SLOW), pytest.param("pretraining", marks=SLOW)]
)
def test_a_stopped_run_resumes_with_its_scale(
    kind: str, deep_classes: Path, deep_masks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(out: Path) -> Run:
        if kind == "pretraining":
            fields = PRETRAINING | {"evaluation.data": str(deep_classes)}
            return pretrain(deep_classes, "byol-small", overrides=fields, out=out, console=QUIET)
        data, recipe = (deep_classes, CLASSES) if kind == "classes" else (deep_masks, MASKS)
        return train(data, recipe, out=out, console=QUIET)

    reference = start(tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(execution, "StopRequest", StopAtOnce)
        stopped_run = start(tmp_path / "stopped")
    assert stopped_run.status.state == "interrupted"
    assert stopped_run.recipe.data.bits == 12
    if stopped_run.recipe.task == "pretraining":
        assert stopped_run.recipe.labelled.bits == 12
    assert resume(stopped_run.path, console=QUIET).status.state == "finished"
    first, second = (load_file(run.path / "checkpoints" / "last.safetensors") for run in (reference, stopped_run))
    assert all(first[key].equal(second[key]) for key in first)


@pytest.mark.parametrize("masked", [False, True])
def test_check_says_the_depth_and_the_scale(
    masked: bool, deep_classes: Path, deep_masks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, count = (deep_masks, 12) if masked else (deep_classes, 66)
    _, text = snellen("check", data, *(["--out", tmp_path / "drawn"] if masked else []), capsys=capsys)
    assert f"{count} images with 16 bits and values up to 4," in text or "up to 3," in text
    assert "read as 12 bits, so that 4,095 is white" in text
    if masked:
        overlays = [np.asarray(Image.open(path))[:, :48] for path in (tmp_path / "drawn").iterdir()]
        assert max(image.mean() for image in overlays) > 60, "overlays are not black"


def test_check_of_unlabelled_images_says_the_depth(tmp_path: Path) -> None:
    for number in range(4):
        write(tmp_path / f"IMG_{number}.png", np.full((8, 8), 50 + number, np.uint8), 12)
    console = Console(file=io.StringIO(), width=1000)
    console.print(check(tmp_path).render())
    assert "4 images with 16 bits and values up to 848: read as 10 bits" in console.file.getvalue()


def test_images_beyond_the_scale_are_warned_of(deep_classes: Path, trained_run: Run, tmp_path: Path) -> None:
    data = write_classes(tmp_path / "bright", 12)
    write(data / "val" / "1" / "0.png", np.full((16, 16), 250, np.uint8), 16)
    _, text = result_and_output(train, data, CLASSES, out=tmp_path / "run")
    assert "1 of 24 validation images with 16 bits exceed 4,095" in text
    for call, options in ((evaluate, {}), (predict, {"out": tmp_path / "p.csv"})):
        _, text = result_and_output(call, trained_run, data / "val" if call is predict else data, **options)
        assert "1 of 24 images with 16 bits exceed 4,095, which is white" in text
        assert "up to 64,000, are clipped" in text
    _, text = result_and_output(predict, trained_run, data / "val", tmp_path / "q.csv", overrides={"data.bits": 16})
    assert "exceed" not in text
    assert (tmp_path / "p.csv").read_text() != (tmp_path / "q.csv").read_text()


@pytest.mark.parametrize("masked", [False, pytest.param(True, marks=SLOW)])
def test_a_run_of_eight_bits_says_how_it_reads_sixteen(
    masked: bool, deep_classes: Path, deep_masks: Path, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deep = deep_masks if masked else deep_classes
    data = write_masks(tmp_path / "eight", scenes, 8) if masked else write_classes(tmp_path / "eight", 8)
    run = train(data, MASKS if masked else CLASSES, out=tmp_path / "run", console=QUIET)
    _, text = result_and_output(evaluate, run, deep)
    assert "images with 16 bits and values up to" in text
    assert "the upper eight of the 16 bits are used, so that 65,535 is white. For another scale: data.bits=12" in text
    evaluation, text = result_and_output(evaluate, run, deep, overrides={"data.bits": 12})
    assert "16 bits" not in text
    figure = "miou" if masked else "top1"
    assert getattr(evaluation.figures, figure) == pytest.approx(run.status.score)
    images = deep / "val" / ("images" if masked else "")
    for overrides, is_warned in (([], True), (["data.bits=12"], False)):
        code, text = snellen(
            "predict", run.path, images, *overrides, "--out", tmp_path / f"out{is_warned}", capsys=capsys
        )
        assert code == 0
        assert ("For another scale: data.bits=12" in text) == is_warned


def test_frames_of_a_video_of_twelve_bits_look_alike(photograph: Any, tmp_path: Path) -> None:
    """In colour, as TIFF: files that Pillow cannot read."""
    values = photograph.numpy().astype(np.uint16) << 4
    for scene in range(4):
        for frame in range(6):
            part = values[:, 90 * scene : 90 * scene + 64, 140 * scene + frame : 140 * scene + frame + 64]
            profile = {"driver": "GTiff", "count": 3, "height": 64, "width": 64, "dtype": "uint16"}
            with rasterio.open(tmp_path / f"s_{100 * scene + frame}.tif", "w", **profile) as file:
                file.write(part)
    images = [LabelledImage(path.name, "", "unknown") for path in sorted(tmp_path.iterdir())]
    assert neighbour_notes(tmp_path, images)
