"""Files that are no images are named by their suffixes, with counts, in one line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from snellen import UserError
from snellen.data.listing import DataSpec
from snellen.data.masks.sources import read_masked
from snellen.data.masks.spec import MaskDataSpec
from snellen.data.passed_over import passed_over_note
from snellen.data.sources import read_images
from snellen.data.unlabelled import read_unlabelled


def photos(folder: Path) -> Path:
    for name in "ab":
        (folder / name).mkdir(parents=True)
        for number in range(6):
            Image.new("RGB", (8, 8), (40 * number, ord(name), 9)).save(folder / name / f"{number}.png")
            (folder / name / f"{number}.raw").write_bytes(b"x")
    (folder / "a" / "1.PDF").write_bytes(b"x")
    (folder / "a" / "README").write_bytes(b"x")
    return folder


def test_suffixes_are_named_with_counts(tmp_path: Path) -> None:
    data = photos(tmp_path / "photos")
    note = "14 files in photos/ that are not images were skipped (12 .raw, 1 .pdf, 1 without a suffix)"
    assert note in read_images(data, DataSpec()).notes
    assert note in read_unlabelled(data).notes


def test_heic_says_how_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snellen.data.passed_over.IMAGE_SUFFIXES", frozenset({".jpg"}))  # as without pillow-heif
    note = passed_over_note(tmp_path / "photos", ["a.heic", "b.HEIC", "c.jpg"])
    assert note is not None
    assert "2 files in photos/" in note
    assert "2 .heic; pip install 'snellen[heif]' reads" in note


def test_a_folder_without_readable_images_says_why(tmp_path: Path) -> None:
    data = photos(tmp_path / "photos")
    (data / "c").mkdir()
    (data / "c" / "1.raw").write_bytes(b"x")
    with pytest.raises(UserError, match=r"c: no images in this class folder.* 1 file in c/ .*1 \.raw"):
        read_images(data, DataSpec())
    with pytest.raises(UserError, match=r"no images .* 1 file in c/ .*1 \.raw"):
        read_unlabelled(data / "c")


def test_other_files_next_to_images_with_masks_are_counted(scenes: Path, tmp_path: Path) -> None:
    shutil.copytree(scenes, tmp_path / "scenes")
    (tmp_path / "scenes" / "notes.raw").write_bytes(b"x")
    images = read_masked(tmp_path / "scenes", MaskDataSpec())
    assert "1 file in scenes/ that is not an image was skipped (1 .raw)" in images.notes
