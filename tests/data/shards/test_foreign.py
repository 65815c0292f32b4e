"""Tar files that the webdataset package wrote, without an index: indexed once, and then as good as a folder."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from tests.data.shards.server import serving
from tests.faults.kinds import QUIET

from snellen import UserError, shard
from snellen.data.listing import DataSpec
from snellen.data.masks.sources import is_masked, read_masked
from snellen.data.masks.spec import MaskDataSpec
from snellen.data.shards.sources import _at_url
from snellen.data.sources import read_images
from snellen.data.unlabelled import read_unlabelled


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SNELLEN_CACHE", str(tmp_path / "cache"))
    _at_url.cache_clear()
    yield
    _at_url.cache_clear()


def write_tar(path: Path, files: Mapping[str, bytes | str]) -> Path:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def numbered(digits: Path, numbers: range, label: str = "cls") -> dict[str, bytes | str]:
    """Samples 000000, 000001, … with an image and a class each, as most programs write them."""
    files: dict[str, bytes | str] = {"__meta__.txt": "notes"}
    for row, (number, folder) in enumerate((n, c) for n in numbers for c in "012"):
        files[f"{row:06d}.png"] = (digits / folder / f"{number}.png").read_bytes()
        text = f"digit {folder}"
        files[f"{row:06d}.{label}"] = json.dumps({"label": text, "id": row}) if label == "json" else text
    return files


@pytest.mark.parametrize("label", ["cls", "json", "txt"])
def test_classes_and_parts(label: str, digits: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The class from the files of a sample, the part from the name of its tar file; keys repeat between tar files."""
    tars = tmp_path / "tars"
    write_tar(tars / "train-000.tar", numbered(digits, range(10), label))
    write_tar(tars / "train-001.tar", numbered(digits, range(10, 20), label))
    write_tar(tars / "val-000.tar", numbered(digits, range(20, 30), label))
    (tars / "sizes.json").write_text("{}")
    images = read_images(tars, DataSpec())
    assert images.classes == ("digit 0", "digit 1", "digit 2")
    assert (len(images.train), len(images.validation)) == (60, 30)
    expected = [(digits / c / f"{n}.png").read_bytes() for n in range(20) for c in "012"]
    assert sorted(path.read_bytes() for path in images.training_files) == sorted(expected)
    assert [images.classes[s.label][-1] for s in images.train] == [
        str(path).split("digit ")[1][0] for path in images.training_files
    ]
    assert read_images(tars, DataSpec()) == images
    assert capfd.readouterr().err.count("indexing 3 tar files") == 1
    write_tar(tars / "val-000.tar", numbered(digits, range(20, 25), label))
    assert len(read_images(tars, DataSpec()).validation) == 15
    single = read_images(tars / "train-001.tar", DataSpec())
    assert len(single.train) + len(single.validation) == 30


def test_over_http(digits: Path, tmp_path: Path) -> None:
    for number in range(3):
        write_tar(tmp_path / "tars" / f"x{number:03d}.tar", numbered(digits, range(10 * number, 10 * number + 10)))
    local = read_images(tmp_path / "tars", DataSpec())
    with serving(tmp_path / "tars") as server:
        images = read_images(f"{server.url}/x{{000..002}}.tar", DataSpec())
        assert images.fingerprint == local.fingerprint
        for path, other in zip(images.training_files, local.training_files, strict=True):
            assert path.read_bytes() == other.read_bytes()
        for number in range(3):
            assert server.sent(f"x{number:03d}.tar") == (tmp_path / "tars" / f"x{number:03d}.tar").stat().st_size
        with pytest.raises(UserError, match=r"expected a range of up to"):
            read_images(f"{server.url}/x{{000..999999999}}.tar", DataSpec())


@pytest.mark.parametrize("ending", ["png", "seg.png", "mask.png"])
def test_masks(ending: str, scenes: Path, tmp_path: Path) -> None:
    files = {}
    for mask in sorted(scenes.rglob("*_mask.png")):
        key = mask.name.removesuffix("_mask.png")
        files[f"{key}.jpg"] = mask.with_name(f"{key}_sat.jpg").read_bytes()
        files[f"{key}.{ending}"] = mask.read_bytes()
    tar = write_tar(tmp_path / "scenes.tar", files)
    assert is_masked(tar)
    images = read_masked(tar, MaskDataSpec())
    folder = read_masked(scenes, MaskDataSpec())
    assert len(images.train) + len(images.validation) == 16
    assert images.classes.names == folder.classes.names


def test_captions_are_no_classes(digits: Path, tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {}
    for number in range(12):
        files[f"{number}.png"] = (digits / "0" / f"{number}.png").read_bytes()
        files[f"{number}.txt"] = f"a photograph of the number {number}"
    tar = write_tar(tmp_path / "pairs.tar", files)
    assert read_unlabelled(tar).paths == tuple(sorted(f"{number}.png" for number in range(12)))
    with pytest.raises(UserError, match=r"look unlabelled"):
        read_images(tar, DataSpec())


def test_our_own_tar_files_without_their_index(digits: Path, scenes: Path, tmp_path: Path) -> None:
    out = shard(digits, tmp_path / "out", console=QUIET)
    (out / "index.safetensors").unlink()
    images = read_images(out, DataSpec())
    assert (images.classes, len(images.train) + len(images.validation)) == (("0", "1", "2"), 120)
    out = shard(scenes, tmp_path / "masks", console=QUIET)
    (out / "index.safetensors").unlink()
    masked = read_masked(out, MaskDataSpec())
    assert (len(masked.train), len(masked.validation)) == (11, 5)


def test_a_folder_with_images_is_not_taken_for_shards(digits: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_tar(data / "backup.tar", {"x.png": b"x"})
    for number in range(2):
        (data / f"{number}.png").write_bytes((digits / "0" / f"{number}.png").read_bytes())
    assert read_unlabelled(data).paths == ("0.png", "1.png")


def test_what_has_no_images_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"notes.tar: no images"):
        read_images(write_tar(tmp_path / "notes.tar", {"a.txt": "x", "b": "y"}), DataSpec())
    with pytest.raises(UserError, match=r"several images \(.jpg, .webp\)"):
        read_images(write_tar(tmp_path / "two.tar", {"a.jpg": "x", "a.webp": "y"}), DataSpec())
