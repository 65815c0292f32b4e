"""The reference's three layouts as they are: checked, trained on, predicted and evaluated, by relative paths."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console
from tests.hardware import ARGUMENTS

from snellen import Run, UserError, evaluate, predict
from snellen.cli import main
from snellen.tasks.classification.evaluate import Evaluated

HARDWARE = [*ARGUMENTS, "epochs=1"]
CLASSES = [
    *("airnet-scratch", "batch_size=8", "model.width=0.125", "augmentation.size=16", "augmentation.resize=16"),
    *("evaluation.size=16", "snapshots.images=0", "evaluation.choose=best", *HARDWARE),
]
MASKS = [
    *("segment-lite", "batch_size=4", "model.architecture=fpn/test_resnet", "model.weights=null", *HARDWARE),
    *("augmentation.size=[32,32]", "augmentation.resize=null", "evaluation.resize=null", "snapshots.images=0"),
    "evaluation.choose=best",
]


@pytest.fixture(scope="module")
def folder(digits: Path, scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """p1: flat folders; p2/mini without labels, p2/office with tables; p3: scenes next to masks. Runs: one, three."""
    root = tmp_path_factory.mktemp("reference")
    for label in ("0", "1", "2"):
        for number, file in enumerate(sorted((digits / label).iterdir())[:12]):
            side = "train" if number < 8 else "val"
            _copy(file, root / "p1" / f"{side}_50" / f"{label}_{number}.png")
            _copy(file, root / "p2" / "mini" / "train" / f"n0{label}53282{number:08d}.png")
            _copy(file, root / "p2" / "office" / side / f"Digit{label}{number:05d}.png")
    for side in ("train", "val"):
        names = sorted(path.name for path in (root / "p2" / "office" / side).iterdir())
        rows = [{"id": row, "filename": name, "label": name[:6]} for row, name in enumerate(names)]
        pd.DataFrame(rows).to_csv(root / "p2" / "office" / f"{side}.csv", index=False)
    shutil.copytree(scenes, root / "p3")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for data, options, out in (("p1", CLASSES, "one"), ("p3", MASKS, "three")):
            command(patch, "train", options[0], data, *options[1:], "--out", out)
    return root


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def command(patch: pytest.MonkeyPatch, *arguments: str) -> None:
    patch.setattr(sys, "argv", ["snellen", *arguments])
    patch.setenv("COLUMNS", "300")
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code, arguments


@pytest.fixture
def working_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.chdir(folder)
    return monkeypatch


def test_flat_folders(working_folder: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    command(working_folder, "check", "p1")
    command(working_folder, "predict", "one", "p1/val_50", "--out", "p1.csv")
    command(working_folder, "evaluate", "one", "p1")
    out = "".join(capsys.readouterr())
    assert "flat files with the class in the name in train_50/ and val_50/" in out
    assert "12 validation images: an accuracy near 50% has a 95% interval" in out
    assert len(pd.read_csv("p1.csv")) == 12
    assert "scoring 12 images of p1" in out
    assert "the validation part; 24 others are left out" in out
    assert "the run's epoch was chosen on these images" in out
    command(working_folder, "evaluate", "one", "p1/train_50")
    assert "the run was trained on these images: the figures are too optimistic" in "".join(capsys.readouterr())


def test_tables_and_images_without_labels(
    working_folder: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command(working_folder, "check", "p2/mini")
    assert "36 images without labels" in "".join(capsys.readouterr())
    command(working_folder, "check", "p2/office")
    assert "Digit0" in "".join(capsys.readouterr())
    command(working_folder, "train", CLASSES[0], "p2/office/train.csv", *CLASSES[1:], "--out", "two")
    out = "".join(capsys.readouterr())
    assert "val.csv next to train.csv is not read" in out
    assert sum(Run(Path("two")).data["counts"].values()) == 24
    command(working_folder, "evaluate", "two", "p2/office/val.csv")
    assert "of 12 images are right" in "".join(capsys.readouterr())


def test_scenes_beside_their_masks(working_folder: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    command(working_folder, "check", "p3")
    command(working_folder, "predict", "three", "p3/validation", "--out", "masks")
    out = "".join(capsys.readouterr())
    images = sorted(path.name for path in Path("p3/validation").glob("*_sat.*"))
    assert f"{len(images)} masks next to the images" in out
    assert [Path(path).name for path in pd.read_csv("masks/masks.csv")["path"]] == images
    command(working_folder, "evaluate", "three", "p3")
    assert "chosen on these images" in "".join(capsys.readouterr())
    predicted = predict(
        "three", sorted(Path("p3/validation").glob("*_mask.png"))[0], "other", console=Console(quiet=True)
    )
    assert predicted.predicted == 1  # a mask alone is what was asked for


def test_only_data_can_be_changed_for_other_images(
    working_folder: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree("p1/val_50", "damaged")
    Path("damaged/0_99.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"0_99\.png"):
        evaluate("one", "damaged", console=Console(quiet=True))
    command(working_folder, "evaluate", "one", "damaged", "data.unreadable=skip")
    assert "of 12 images are right" in "".join(capsys.readouterr())
    with pytest.raises(UserError, match=r"model.width: evaluate takes only data"):
        evaluate("one", "damaged", overrides={"model.width": 1})
    with pytest.raises(UserError, match=r"predict only reads images"):
        predict("one", "damaged", overrides={"data.unreadable": "skip"})


def test_a_table_that_names_images_twice(
    working_folder: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"p1/val_50/{label}_8.png" for label in "012"]
    rows = "".join(f"{name},{name[-7]}\n" for name in [*names, *names, "p1/../p1/val_50/0_8.png"])
    Path("twice.csv").write_text("path,label\n" + rows)
    result = evaluate("one", "twice.csv")
    assert isinstance(result, Evaluated)
    assert result.figures.images == 3
    assert "4 rows repeat an image, which is scored once" in "".join(capsys.readouterr())
    Path("twice.csv").write_text("path,label\n" + rows + "p1/val_50/0_8.png,1\n")
    with pytest.raises(UserError, match=r"0_8\.png: listed under two classes, '0' and '1'"):
        evaluate("one", "twice.csv")
