"""Images without labels: folders, and lists of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from snellen.data.unlabelled import read_unlabelled
from snellen.errors import UserError


def test_a_list_names_its_images(digits: Path, tmp_path: Path) -> None:
    images = sorted(digits.rglob("*.png"))[:5]
    file = tmp_path / "some.txt"
    file.write_text("".join(f"{image}\n" for image in images) + "\n")
    result = read_unlabelled(file)
    assert [result.root / path for path in result.paths] == images
    assert result.layout == "listed in some.txt"
    list_file = digits / "beside.txt"
    list_file.write_text("".join(f"{image.relative_to(digits)}\n" for image in images))
    same = read_unlabelled(list_file)
    list_file.unlink()
    assert same.paths == tuple(image.relative_to(digits).as_posix() for image in images)


def test_of_a_split_only_the_training_part_is_learnt_from(digits: Path, tmp_path: Path) -> None:
    for part, number in (("train", "0"), ("val", "1")):
        (tmp_path / part).mkdir()
        (tmp_path / part / "x").symlink_to(digits / number)
        for image in (digits / number).iterdir():
            (tmp_path / part / image.name).write_bytes(image.read_bytes())
    result = read_unlabelled(tmp_path)
    assert result.paths
    assert all(path.startswith("train/") for path in result.paths)
    assert "val/ is kept for evaluation" in result.notes[0]


def test_invalid_lists_of_images_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    file.write_text("gone.png\n")
    with pytest.raises(UserError, match=r"list\.txt, image 1: .*gone\.png is not a file"):
        read_unlabelled(file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not a text file in UTF-8"):
        read_unlabelled(file)
    file.write_text("")
    with pytest.raises(UserError, match="no images"):
        read_unlabelled(file)
    with pytest.raises(UserError, match=r"or a \.txt file with one path per line"):
        read_unlabelled(tmp_path / "nowhere")
