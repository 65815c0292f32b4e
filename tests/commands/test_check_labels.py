"""The labels that `snellen check --features` suspects: found, shown, kept, written."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from tests.commands.test_check import text
from tests.images import write_digits, write_scenes

from snellen import UserError
from snellen.commands.check import check
from snellen.data.disk_cache import DiskCache
from snellen.data.listing import DataSpec
from snellen.data.sources import read_images
from snellen.tasks.classification.check import Check
from snellen.tasks.classification.features import extract, open_features

BACKBONE = "resnet10t"
WRONG = {"3.png": ("0", "2"), "5.png": ("1", "0"), "7.png": ("2", "1")}  # (class, folder that it was put in)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights: their features tell digits apart."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_file(timm.create_model(BACKBONE, num_classes=0).state_dict(), file)
    return file


@pytest.fixture
def mislabelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Digits of which three lie in the folder of another class."""
    monkeypatch.setenv("SNELLEN_CACHE", str(tmp_path / "cache"))
    folder = write_digits(tmp_path / "digits")
    for name, (right, wrong) in WRONG.items():
        (folder / right / name).rename(folder / wrong / f"from{right}_{name}")
    return folder


def fields(weights: Path) -> dict[str, object]:
    return {"model.weights": str(weights), "evaluation.size": 32}


def test_wrong_labels_are_found_shown_and_written(mislabelled: Path, weights: Path, tmp_path: Path) -> None:
    page, table = tmp_path / "check.html", tmp_path / "labels.csv"
    options = {"features": BACKBONE, "overrides": fields(weights), "quiet": True}
    checked = check(mislabelled, report=page, labels=table, **options)  # type: ignore[arg-type]
    assert isinstance(checked, Check)
    suspects = checked.suspects
    assert suspects is not None
    assert len(suspects.images) == 120
    first = suspects.images[:3]
    assert {Path(image.path).name for image in first} == {f"from{right}_{name}" for name, (right, _) in WRONG.items()}
    for image in first:
        assert image.likely == Path(image.path).name[4]  # the class that it came from
        assert image.given == Path(image.path).parts[0]
    assert suspects.share.interval.low <= 3 / 120 <= suspects.share.interval.high
    assert suspects.count >= 3
    given = [image.probability for image in suspects.images]
    assert given[: suspects.count] == sorted(given[: suspects.count])
    report = text(checked)
    assert "of the labels are wrong (95% interval" in report
    assert f"features of {BACKBONE} (random.safetensors) at 32 px" in report
    numbers = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))["labels"]
    assert [entry["path"] for entry in numbers["suspects"][:3]] == [image.path for image in first]
    html = page.read_text(encoding="utf-8")
    assert html.index(first[0].path) < html.index(first[2].path)
    assert html[html.index('id="labels"') :].count("data:image/jpeg") == suspects.count
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    assert [row["suspect"] for row in rows].count("yes") == suspects.count
    assert [Path(row["path"]).name for row in rows[:3]] == [Path(image.path).name for image in first]
    again = read_images(table, DataSpec())
    before = checked.images
    assert {(again.root / sample.path).resolve() for sample in again.train} == {
        (before.root / sample.path).resolve() for sample in before.train
    }
    assert all(again.classes[sample.label] == Path(sample.path).parts[-2] for sample in again.train)
    with pytest.raises(UserError, match="already exists"):
        check(mislabelled, labels=table, **options)  # type: ignore[arg-type]


def test_features_are_kept_by_content_weights_and_view(
    mislabelled: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rich.console import Console

    files, console = sorted(mislabelled.glob("*/*")), Console(quiet=True)
    source, disk = open_features(BACKBONE, fields(weights)), DiskCache(100)
    rows, features = extract(source, files, None, disk, console)
    assert rows == list(range(120))
    assert features.shape == (120, 512)
    seen: list[Path] = []
    monkeypatch.setattr("snellen.tasks.classification.features.decode", lambda path, bits: seen.append(path))
    rows_again, features_again = extract(source, files[::-1], None, DiskCache(100), console)
    assert rows_again == rows
    np.testing.assert_array_equal(features_again, features[::-1])
    assert not seen
    monkeypatch.undo()
    with torch.no_grad():
        next(source.backbone.parameters()).mul_(2)
    assert not np.array_equal(extract(source, files[:2], None, disk, console)[1], features[:2])


def test_classes_and_copies_that_cannot_be_compared(mislabelled: Path, weights: Path) -> None:
    shutil.copytree(mislabelled / "0", mislabelled / "lone")
    for file in sorted((mislabelled / "lone").iterdir())[1:]:
        file.unlink()
    next((mislabelled / "lone").iterdir()).rename(mislabelled / "lone" / "a.png")
    checked = check(mislabelled, features=BACKBONE, overrides=fields(weights), quiet=True)
    assert checked.suspects is not None
    assert "1 label was not checked" in text(checked)
    assert [path for path, _, _ in checked.suspects.unchecked] == ["lone/a.png"]
    assert len(checked.suspects.images) == 120


def test_groups_and_unreadable_images(mislabelled: Path, weights: Path, tmp_path: Path) -> None:
    (mislabelled / "0" / "broken_1.png").write_bytes(b"no image")
    overrides = {**fields(weights), "data.group": r"(\d)\.png"}
    checked = check(mislabelled, features=BACKBONE, overrides=overrides, labels=tmp_path / "l.csv", quiet=True)
    assert checked.suspects is not None
    assert [path for path, _, _ in checked.suspects.unchecked] == ["0/broken_1.png"]
    rows = list(csv.DictReader((tmp_path / "l.csv").open(encoding="utf-8")))
    assert {row["group"] for row in rows} == set("0123456789")
    assert rows[-1]["suspect"] == ""


@pytest.mark.parametrize(
    ("features", "overrides", "message"),
    [
        ("resnet10x", {}, "resnet10t"),
        ("runs/none", {}, "no such folder of a run"),
        (BACKBONE, {"model.weights": "none.safetensors"}, "no such file"),
        (BACKBONE, {"model.backbone": "resnet18"}, "Omit one of them"),
    ],
)
def test_features_that_are_not_there(mislabelled: Path, features: str, overrides: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check(mislabelled, features=features, overrides=overrides, quiet=True)


def test_only_images_with_a_class_have_labels_to_check(mislabelled: Path, weights: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Add --features"):
        check(mislabelled, labels=tmp_path / "labels.csv", quiet=True)
    with pytest.raises(UserError, match="only images with a class each"):
        check(write_scenes(tmp_path / "scenes"), features=BACKBONE, overrides=fields(weights), quiet=True)
    one = tmp_path / "one"
    shutil.copytree(mislabelled / "0", one / "0")
    with pytest.raises(UserError, match="class"):
        check(one, features=BACKBONE, overrides=fields(weights), quiet=True)
