"""The copies that `snellen check` reports, its page, and its exit code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image
from tests.commands.test_check import text
from tests.data.copies.test_copies import crop, photographs

from snellen import UserError
from snellen.commands.check import check
from snellen.data.listing import DataSpec
from snellen.data.sources import read_images
from snellen.tasks.classification.check import Check


@pytest.fixture
def leaky(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes with a validation part, of which two images are copies of training images."""
    monkeypatch.setenv("SNELLEN_CACHE", str(tmp_path / "cache"))
    images = photographs(44)
    for number, image in enumerate(images):
        part = "val" if number >= 36 else "train"
        file = tmp_path / "photos" / part / f"class{number % 2}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        image.save(file)
    shutil.copy(tmp_path / "photos/train/class0/0.png", tmp_path / "photos/val/class0/exact.png")
    crop(images[1]).save(tmp_path / "photos/val/class1/near.png")
    return tmp_path / "photos"


def test_leaks_are_named_first_and_shown_side_by_side(leaky: Path, tmp_path: Path) -> None:
    page = tmp_path / "check.html"
    checked = check(leaky, report=page, quiet=True)
    assert isinstance(checked, Check)
    assert [(Path(pair.first).name, Path(pair.second).name) for pair in checked.copies.pairs] == [
        ("0.png", "exact.png"),
        ("1.png", "near.png"),
    ]
    report = text(checked)
    assert "leak: 2 validation images are copies of training images" in report
    assert "1 pair of equal files, 1 pair of nearly the same image; 2 across the parts" in report
    html = page.read_text(encoding="utf-8")
    assert html.count("data:image/jpeg") == 4
    assert "2 validation images are copies of training images" in html
    assert "http" not in html.replace("http://www.w3.org", "")
    numbers = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    assert numbers == json.loads(json.dumps(checked.as_dict()))
    assert numbers["images"] == {"train": 36, "validation": 10}
    assert page.with_suffix(".csv").read_text(encoding="utf-8").count("\n") == 3


def test_names_in_a_page_are_no_markup(leaky: Path, tmp_path: Path) -> None:
    image = Image.open(leaky / "train/class0/2.png")
    image.save(leaky / "val/class0/<b>&copy.png")
    page = tmp_path / "check.html"
    check(leaky, report=page, quiet=True)
    html = page.read_text(encoding="utf-8")
    assert "<b>&copy" not in html
    assert "&lt;b&gt;&amp;copy.png" in html


def test_the_split_keeps_copies_together_and_is_taken_by_train(leaky: Path, tmp_path: Path) -> None:
    table = tmp_path / "split.csv"
    check(leaky, split=table, quiet=True)
    images = read_images(table, DataSpec())
    parts = {Path(sample.path).name: part for part, samples in images.parts.items() for sample in samples}
    assert len(parts) == 46
    assert parts["0.png"] == parts["exact.png"]
    assert parts["1.png"] == parts["near.png"]
    assert 2 <= len(images.validation) <= 14
    assert not check(table, quiet=True).copies.leaks
    with pytest.raises(UserError, match="already exists"):
        check(leaky, split=table, quiet=True)
    with pytest.raises(UserError, match="CSV file"):
        check(leaky, split=tmp_path / "split.txt", quiet=True)


def test_the_exit_code_says_whether_parts_share_images(
    leaky: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from snellen import cli

    monkeypatch.setattr("sys.argv", ["snellen", "check", str(leaky), "--json"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 1
    assert json.loads(capsys.readouterr().out)["copies"]["leaked"] == {"validation": [4, 9]}
    (leaky / "val/class0/exact.png").unlink()
    (leaky / "val/class1/near.png").unlink()
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code in (None, 0)
