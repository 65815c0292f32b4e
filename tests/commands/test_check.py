"""Checking images before anything is trained on them."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from snellen.commands.check import check
from snellen.tasks.classification.check import Check
from snellen.tasks.pretraining.check import UnlabelledCheck


def text(result: object) -> str:
    console = Console(width=300, file=io.StringIO(), record=True)
    console.print(result.render())  # type: ignore[arg-type]
    return console.export_text()


@pytest.mark.parametrize("data", ["mini", "mini/train", "list.txt"])
def test_images_without_labels(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: str) -> None:
    folder = tmp_path / "mini" / "train"
    folder.mkdir(parents=True)
    files = sorted((digits / "0").iterdir())[:6]
    for number, file in enumerate(files):
        shutil.copy(file, folder / f"n01532829{number:08d}.png")
    shutil.copy(files[0], folder / "n0153282999999999.png")
    (folder / "n0153282988888888.png").write_bytes(b"no image")
    (tmp_path / "list.txt").write_text("".join(f"{file}\n" for file in folder.iterdir()))
    monkeypatch.chdir(tmp_path)
    result = check(data)
    assert isinstance(result, UnlabelledCheck)
    assert len(result.images.paths) == 8
    assert result.formats == {"PNG L": 7}
    assert result.sides == (16, 16, 16)
    assert [Path(entry.path).name for entry in result.unreadable] == ["n0153282988888888.png"]
    report = text(result)
    assert "8 images without labels" in report
    assert "1 image is a copy of another one" in report
    assert "snellen pretrain" in report


def test_class_names_are_not_taken_for_markup(digits: Path, tmp_path: Path) -> None:
    for name, source in (("[red]", "0"), ("[|x]", "1")):
        shutil.copytree(digits / source, tmp_path / name)
    result = check(tmp_path)
    assert isinstance(result, Check)
    assert "[red]" in text(result)
