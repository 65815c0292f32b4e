"""The Python interface: accepted arguments, results, and errors for anything else."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file
from tests.hardware import HARDWARE

import snellen
from snellen import UserError
from snellen.runs import Run

FAST: dict[str, Any] = {
    "batch_size": 16,
    "augmentation": {"size": 16, "resize": 16},
    "evaluation": {"size": 16},
    "model": {"width": 0.125},
    "hardware": HARDWARE,
    "snapshots": {"images": 0},
}
MASKS: dict[str, Any] = {
    "name": "tiny",
    "task": "segmentation",
    "epochs": 1,
    "batch_size": 4,
    "model": {"architecture": "unet/test_resnet", "weights": None},
    "hardware": HARDWARE,
    "snapshots": {"images": 0},
}


@pytest.fixture(scope="module")
def run(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "run"
    return snellen.train(digits, "airnet-scratch", out=out, epochs=2, quiet=True, **FAST)


@pytest.fixture(scope="module")
def masks(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return snellen.train(scenes, MASKS, out=tmp_path_factory.mktemp("masks") / "run", quiet=True)


@pytest.fixture
def files(digits: Path, tmp_path: Path) -> list[Path]:
    """Images of several kinds: grey, colour with an orientation, transparent, palette, 16 bits, and one damaged."""
    paths = [tmp_path / "images" / f"{n}.png" for n in range(6)]
    paths[0].parent.mkdir()
    image = Image.open(digits / "0" / "0.png").convert("RGB")
    shutil.copy(digits / "0" / "0.png", paths[0])
    image.putpixel((0, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6
    paths[1] = paths[1].with_suffix(".jpg")
    image.save(paths[1], exif=exif)
    image.putalpha(Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)))
    image.save(paths[2])
    image.convert("RGB").quantize(8).save(paths[3])
    Image.fromarray((np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)).save(paths[4])
    paths[5].write_bytes(b"no image")
    return paths


def test_predict_gives_the_numbers_of_the_command(run: Run, files: list[Path], tmp_path: Path) -> None:
    frame = run.predict(files, quiet=True)
    names = [f"probability_{name}" for name in run.classes]
    assert frame.columns.tolist() == ["image", "class", "probability", *names, "error"]
    assert frame["image"].tolist() == [str(file) for file in files], "in the order given"
    assert frame["error"].tolist() == ["", "", "", "", "", "not a readable image"]
    np.testing.assert_allclose(frame[names].to_numpy(float)[:5].sum(1), 1, atol=1e-5)
    assert frame[names].iloc[5].isna().all()
    predicted = snellen.predict(run, files, tmp_path / "p.csv", top_k=3, quiet=True)
    table = predicted.table().set_index("path")
    assert len(table) == 6
    for row in frame.to_dict("records"):
        table_row = table.loc[row["image"]]
        assert table_row["class"] == ("" if row["error"] else row["class"])
        if row["error"] == "":
            ranks = ["", "_2", "_3"]
            probabilities = [row[f"probability_{table_row[f'class{rank}']}"] for rank in ranks]
            np.testing.assert_allclose(probabilities, [table_row[f"probability{rank}"] for rank in ranks], atol=1e-6)
    assert not Path("predictions.csv").exists()


def test_images_without_files_are_predicted_as_their_files(run: Run, files: list[Path], tmp_path: Path) -> None:
    readable = files[:5]
    names = [f"probability_{name}" for name in run.classes]
    expected = run.predict(readable)[names].to_numpy(float)
    pictures = [Image.open(file) for file in readable]
    np.testing.assert_array_equal(run.predict(pictures)[names].to_numpy(float), expected)
    arrays = [np.asarray(Image.open(file)) for file in readable]
    arrays[1] = np.rot90(arrays[1], -1)  # an array has no orientation
    arrays[3] = np.asarray(Image.open(readable[3]).convert("RGB"))  # nor a palette
    assert [array.ndim for array in arrays] == [2, 3, 3, 3, 2]
    assert arrays[4].dtype == np.uint16
    frame = run.predict(arrays)
    assert frame["image"].tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(frame[names].to_numpy(float), expected)
    mixed = run.predict([readable[1], arrays[0], str(readable[1])])
    assert mixed["image"].tolist() == [str(readable[1]), 1, str(readable[1])]
    np.testing.assert_allclose(mixed[names].to_numpy(float), expected[[1, 0, 1]], atol=1e-6)
    single = run.predict(arrays[0])
    np.testing.assert_allclose(single[names].to_numpy(float), expected[:1], atol=1e-6)  # another size of batch
    batch = np.stack([arrays[1], arrays[3]])
    np.testing.assert_allclose(run.predict(batch)[names].to_numpy(float), expected[[1, 3]], atol=1e-6)
    assert run.predict(files[0].parent).shape[0] == 6, "a folder"
    assert run.predict(pd.Series([str(file) for file in readable]))["image"].tolist() == [
        str(file) for file in readable
    ]
    predicted = snellen.predict(run.path, [arrays[0], readable[1]], tmp_path / "p.csv", quiet=True)
    assert predicted.table()["path"].tolist() == ["0", str(readable[1])]


def test_masks_are_the_indices_of_the_files(masks: Run, scenes: Path, tmp_path: Path) -> None:
    folder = scenes / "validation"
    frame = masks.predict(folder)
    assert frame.columns.tolist() == ["image", "mask", "error"]
    snellen.predict(masks, folder, tmp_path / "masks", quiet=True)
    for row in frame.to_dict("records"):
        assert row["image"].endswith("_sat.jpg"), "masks next to the images are skipped"
        index = np.asarray(Image.open(tmp_path / "masks" / "index" / f"{Path(row['image']).stem}.png"))
        assert row["mask"].dtype == np.uint8
        np.testing.assert_array_equal(row["mask"], index)
    first = Path(frame["image"][0])
    pixels = np.asarray(Image.open(first))
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    mixed = masks.predict([pixels, tmp_path / "broken.jpg", Image.open(first), pixels])
    assert mixed["image"].tolist() == [0, str(tmp_path / "broken.jpg"), 2, 3]
    assert mixed["mask"][1] is None
    assert mixed["error"][1] == "not a readable image"
    for row in (0, 2, 3):
        np.testing.assert_array_equal(mixed["mask"][row], frame["mask"][0])
    predicted = snellen.predict(masks, [pixels, first], tmp_path / "both", quiet=True)
    table = predicted.table()
    assert table["path"].tolist() == ["0", str(first)]
    stored_masks = [np.asarray(Image.open(tmp_path / "both" / name)) for name in table["mask"]]
    np.testing.assert_array_equal(*stored_masks)


def table_of(digits: Path) -> pd.DataFrame:
    paths = sorted(digits.glob("*/*.png"))
    labels = [int(path.parent.name) for path in paths]
    groups = [f"{path.parent.name}{int(path.stem) // 4}" for path in paths]
    return pd.DataFrame({"path": [path.relative_to(digits) for path in paths], "class": labels, "who": groups})


def test_a_data_frame_trains_as_the_same_table(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = tmp_path / "images"
    shutil.copytree(digits, images)
    monkeypatch.chdir(images)
    frame = table_of(images)
    frame.to_csv("table.csv", index=False)
    settings = {"epochs": 2, "quiet": True, **FAST, "data": {"group": "who"}}
    of_frame = snellen.train(frame, "airnet-scratch", out=tmp_path / "frame", **settings)
    of_file = snellen.train("table.csv", "airnet-scratch", out=tmp_path / "file", **settings)
    assert of_frame.data["fingerprint"] == of_file.data["fingerprint"]
    pd.testing.assert_frame_equal(of_frame.samples(), of_file.samples())
    frame_weights, file_weights = (
        load_file(run.path / "checkpoints" / "best.safetensors") for run in (of_frame, of_file)
    )
    assert all(torch.equal(frame_weights[name], file_weights[name]) for name in file_weights)
    pd.testing.assert_frame_equal(of_frame.predictions(), of_file.predictions())
    check = snellen.check(frame, overrides={"data.group": "who"})
    assert isinstance(check, snellen.tasks.classification.check.Check)
    assert check.images.fingerprint == of_file.data["fingerprint"]
    evaluation = snellen.evaluate(of_frame, frame, quiet=True)
    assert isinstance(evaluation, snellen.tasks.classification.evaluate.Evaluated)
    assert evaluation.figures.images == len(frame)


def test_a_run_of_a_data_frame_is_resumed_from_anywhere(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.commands.test_divergence import StopAfter  # asks to stop where it is told to

    frame = table_of(digits)
    monkeypatch.chdir(digits)
    reference = snellen.train(frame, "airnet-scratch", out=tmp_path / "whole", epochs=3, quiet=True, **FAST)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("snellen.commands.execution.StopRequest", StopAfter)
        StopAfter.starts = 1
        stopped_run = snellen.train(frame, "airnet-scratch", out=tmp_path / "stopped", epochs=3, quiet=True, **FAST)
    assert stopped_run.status.state == "interrupted"
    shutil.move(stopped_run.path, tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    resumed_run = snellen.resume("elsewhere", quiet=True)
    pd.testing.assert_frame_equal(resumed_run.predictions(), reference.predictions())


def test_fields_are_keywords(digits: Path, tmp_path: Path) -> None:
    recipe = snellen.load_recipe("airnet-scratch")
    run = snellen.train(
        digits,
        recipe,
        out=str(tmp_path / "run"),
        overrides={"epochs": 9, "batch_size": 64, "model.width": 0.125},
        quiet=True,
        epochs=np.int64(1),
        augmentation={"size": 16, "resize": 16},
        optimizer={"lr": 0.5},
        hardware=FAST["hardware"],
        **{"evaluation.size": 16},
    )
    assert run.recipe.epochs == 1
    assert run.recipe.batch_size == 64
    assert run.recipe.augmentation.size == 16
    assert run.recipe.optimizer.lr == 0.5
    changed_fields = {
        "epochs",
        "batch_size",
        "augmentation",
        "optimizer",
        "evaluation",
        "model",
        "hardware",
        "normalization",
    }
    shipped_fields = recipe.model_dump(exclude=changed_fields)
    assert run.recipe.model_dump(exclude=changed_fields) == shipped_fields, "parts keep the fields that are not given"
    assert run.recipe.optimizer.model_dump(exclude={"lr"}) == recipe.optimizer.model_dump(exclude={"lr"})


def test_nothing_is_printed(digits: Path, scenes: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = snellen.train(digits, "airnet-scratch", out=tmp_path / "run", epochs=1, quiet=True, **FAST)
    snellen.predict(run, digits / "0", tmp_path / "p.csv", quiet=True)
    run.predict(digits / "0", quiet=True)
    snellen.evaluate(run, digits, quiet=True)
    snellen.check(digits, quiet=True)
    snellen.check(scenes, quiet=True)
    assert capfd.readouterr() == ("", "")


def test_returned_objects_have_a_short_repr(run: Run, masks: Run, digits: Path, scenes: Path, tmp_path: Path) -> None:
    (tmp_path / "flat").mkdir()
    for number in range(8):
        shutil.copy(digits / "0" / f"{number}.png", tmp_path / "flat" / f"IMG_{number}.png")
    results = [
        snellen.check(digits),
        snellen.check(scenes),
        snellen.check(tmp_path / "flat"),
        snellen.evaluate(run, digits, quiet=True),
        snellen.evaluate(masks, scenes, quiet=True),
        run,
        masks,
        snellen.predict(run, digits / "0", tmp_path / "p.csv", quiet=True),
    ]
    for result in results:
        assert len(repr(result)) < 300 + 2 * len(str(tmp_path)), repr(result)
    assert "finished, epoch 2 of 2, top-1" in repr(run)
    assert "120 images, 3 classes: top-1" in repr(results[3])
    broken = tmp_path / "broken"
    shutil.copytree(run.path, broken)
    (broken / "status.json").write_text("{")
    assert "status.json is damaged" in repr(snellen.load(broken))


AIRNET, train, frame = "airnet-scratch", snellen.train, pd.DataFrame
WRONG: dict[str, tuple[Callable[[Path, Run, Run], object], str]] = {
    "data": (lambda p, r, m: train(5), "data: expected a folder, a table, shards or torchvision:NAME, or a DataFrame"),
    "no data": (lambda p, r, m: train(None), "got None"),
    "list": (lambda p, r, m: train(["a.png"]), "got a list"),  # type: ignore[arg-type]
    "recipe": (lambda p, r, m: train(p, 5), "recipe: expected a name"),  # type: ignore[arg-type]
    "out": (lambda p, r, m: train(p, out=5), "out: expected a path, got the number 5"),  # type: ignore[arg-type]
    "overrides": (lambda p, r, m: train(p, overrides=["x"]), "overrides: expected a dictionary"),  # type: ignore[arg-type]
    "field": (lambda p, r, m: train(p, AIRNET, lr=0.1), "Did you mean 'optimizer.lr'"),
    "in part": (lambda p, r, m: train(p, AIRNET, model={"bakbone": 1}), "Did you mean 'model.backbone'"),
    "part": (lambda p, r, m: train(p, AIRNET, model="resnet18"), r"Write model\.backbone=resnet18"),
    "value": (lambda p, r, m: train(p, AIRNET, epochs="many"), "epochs"),
    "columns": (lambda p, r, m: train(frame({"file": ["a"], "y": [1]})), "no column of classes .*among file, y"),
    "no columns": (lambda p, r, m: train(frame()), "no column of paths found among none"),
    "twice": (lambda p, r, m: train(frame([[1, 2]], columns=["path", "path"])), "two columns are called 'path'"),
    "missing": (lambda p, r, m: train(frame({"path": ["a.png"], "class": ["x"]})), "DataFrame, row 0:.*not exist"),
    "empty": (lambda p, r, m: train(frame({"path": [None], "class": ["x"]})), "row 0: the path is empty"),
    "frame of masks": (lambda p, r, m: train(frame(), MASKS), "a DataFrame is not accepted here"),
    "pretrain": (lambda p, r, m: snellen.pretrain(frame()), "a DataFrame is not accepted here"),
    "compare": (lambda p, r, m: snellen.compare("transfer-lite", frame()), "a DataFrame is not accepted here"),
    "study": (lambda p, r, m: snellen.compare(5, p), "study: expected a name"),  # type: ignore[arg-type]
    "study field": (lambda p, r, m: snellen.compare("transfer-lite", p, lr=1), r"changes\.optimizer\.lr=1"),
    "load": (lambda p, r, m: snellen.load(5), "run: expected a path"),  # type: ignore[arg-type]
    "report": (lambda p, r, m: snellen.report(5), "expected"),  # type: ignore[arg-type]
    "evaluate": (lambda p, r, m: snellen.evaluate(r, [1]), "data: expected"),  # type: ignore[arg-type]
    "images": (lambda p, r, m: r.predict(5), "images: expected a path, a folder"),
    "no images": (lambda p, r, m: r.predict([]), "no images: expected"),
    "numbers": (lambda p, r, m: r.predict([1]), "image 0: expected a path.*got the number 1"),
    "frame": (lambda p, r, m: r.predict(frame({"path": ["a"]})), r"as in frame\['path'\]"),
    "tensor": (lambda p, r, m: r.predict(torch.zeros(3, 4, 4)), r"permute\(1, 2, 0\)\.numpy\(\)"),
    "float": (lambda p, r, m: m.predict(np.zeros((4, 4, 3))), r"\(255 \* array\)\.round\(\)\.astype\('uint8'\)"),
    "channels": (lambda p, r, m: m.predict(np.zeros((3, 4, 5), np.uint8)), r"array\.transpose\(1, 2, 0\)"),
    "vector": (lambda p, r, m: r.predict(np.zeros(4, np.uint8)), r"an array \(4,\) of uint8; expected \(H, W, 3\)"),
    "pixelless": (lambda p, r, m: r.predict(np.zeros((0, 4, 3), np.uint8)), "expected"),
    "bytes": (lambda p, r, m: r.predict(b"abc"), "got a bytes"),
    "top_k": (lambda p, r, m: snellen.predict(r, p, top_k=0), "top_k=0"),
    "which": (lambda p, r, m: r.model("first"), "expected 'best' or 'last'"),
    "mask which": (lambda p, r, m: m.model("first"), "expected 'best' or 'last'"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_impossible_settings_are_reported(
    name: str, digits: Path, run: Run, masks: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    call, message = WRONG[name]
    with pytest.raises(UserError, match=message):
        call(digits, run, masks)
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_evaluate_replaces_nothing_unless_forced(
    run: Run, masks: Run, digits: Path, scenes: Path, tmp_path: Path
) -> None:
    quiet = Console(quiet=True)
    for scored_run, data in ((run, digits), (masks, scenes)):
        file = tmp_path / f"{scored_run.recipe.task}.json"
        file.write_text("mine")
        with pytest.raises(UserError, match=r"already exists\. To replace it: --force"):
            snellen.evaluate(scored_run, data, file, console=quiet)
        assert file.read_text() == "mine"
        snellen.evaluate(scored_run, data, file, force=True, console=quiet)
        assert json.loads(file.read_text())["images"] > 0
    with pytest.raises(UserError, match="a folder"):
        snellen.evaluate(run, digits, tmp_path, console=quiet)


def test_predict_refuses_a_folder_of_masks_that_is_there(masks: Run, scenes: Path, tmp_path: Path) -> None:
    images = sorted((scenes / "validation").glob("*_sat.jpg"))
    snellen.predict(masks, images[0], tmp_path / "masks", quiet=True)
    first = sorted(file for file in (tmp_path / "masks").rglob("*") if file.is_file())
    contents = {file: file.read_bytes() for file in first}
    for image in (images[0], images[1]):
        with pytest.raises(UserError, match=r"masks\.csv: already exists\. To replace it: --force"):
            snellen.predict(masks, image, tmp_path / "masks", quiet=True)
    assert {file: file.read_bytes() for file in first} == contents
    snellen.predict(masks, images[0], tmp_path / "masks", force=True, quiet=True)


def test_few_steps_are_reported_in_the_terminal_and_on_the_page(digits: Path, tmp_path: Path) -> None:
    output = io.StringIO()
    console = Console(file=output, width=400)
    fast = FAST | {"batch_size": 1000}
    run = snellen.train(digits, "airnet-scratch", out=tmp_path / "run", epochs=3, console=console, **fast)
    start = "3 epochs of 1 step, since batch_size=1,000 takes all 107 training images at once: too few to learn much."
    assert output.getvalue().count(start) == 1
    assert (run.path / "report.html").read_text().count(start) == 1
    recipe = FAST | {"epochs": 1, "batch_size": 64, "model": {"backbone": "airnet", "width": 0.125}}
    settings = [{"name": "one"}, {"name": "two", "changes": {"optimizer.lr": 0.01}}]
    output.truncate(0)
    study = snellen.compare(
        {"recipe": recipe, "settings": settings}, digits, seeds=[0, 1], out=tmp_path / "study", console=console
    )
    assert study is not None
    start = "1 epoch of 2 steps: too few to learn much. changes.epochs=200 would make 400 steps."
    assert output.getvalue().count(start) == 1, "once for all settings and seeds"
    assert (study.path / "report.html").read_text().count(start) == 1
    assert repr(study).endswith("study, 4 of 4 runs finished")


def test_a_folder_in_use_is_reported_with_the_remedy(run: Run, digits: Path, tmp_path: Path) -> None:
    for state, message in (
        ("finished", "It holds a finished run. Choose another"),
        ("interrupted", "--resume {}\nChoose"),
    ):
        folder = tmp_path / state
        shutil.copytree(run.path, folder)
        status = json.loads((folder / "status.json").read_text()) | {"state": state}
        (folder / "status.json").write_text(json.dumps(status))
        with pytest.raises(UserError) as error:
            snellen.train(digits, "airnet-scratch", out=folder, quiet=True)
        assert message.format(folder) in str(error.value)
        assert ("resume" in str(error.value)) == (state != "finished")


def test_one_image_and_one_epoch_are_no_plurals(digits: Path, tmp_path: Path) -> None:
    output = io.StringIO()
    console = Console(file=output, width=400)
    fast = FAST | {"batch_size": 1000}
    run = snellen.train(digits, "airnet-scratch", out=tmp_path / "run", epochs=1, console=console, **fast)
    page = (run.path / "report.html").read_text()
    assert "training 1 epoch of 1 step into" in output.getvalue()
    assert "epoch 1, the only one, so no epoch was chosen by its score" in page
    assert "1 thread<" in page
    predicted = snellen.predict(run, digits / "0" / "0.png", tmp_path / "p.csv", quiet=True)
    assert "1 image predicted, 0 unreadable" in snellen.commands.predict.render(predicted)
    for text in (output.getvalue(), page):
        assert not re.search(r"(?<![\d,.])1 (epochs|steps|images|threads|classes|runs|seeds|pairs)\b", text)
