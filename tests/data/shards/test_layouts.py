"""Shards hold what decides how a folder is read, so that every layout gives the same images, classes and split."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.faults.kinds import QUIET
from torch import Tensor

from snellen import UserError, shard
from snellen.data.decode import decode
from snellen.data.listing import DataSpec, images_below
from snellen.data.masks.sources import read_masked
from snellen.data.masks.spec import MaskDataSpec
from snellen.data.shards.sources import data_path
from snellen.data.sources import list_images, read_images
from snellen.data.unlabelled import read_unlabelled


def _class_folders(root: Path, digits: Path) -> Path:
    shutil.copytree(digits, root / "photos")
    return root / "photos"


def _split_folders(root: Path, digits: Path) -> Path:
    for part, numbers in (("train", range(20)), ("val", range(20, 30)), ("test", range(30, 40))):
        for label in "012":
            for number in numbers:
                file = root / "photos" / part / label / f"{number}.v2.PNG"
                file.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(digits / label / f"{number}.png", file)
    (root / "photos" / "readme.md").write_text("not an image")
    return root / "photos"


def _flat_files(root: Path, digits: Path) -> Path:
    (root / "photos").mkdir()
    for file in digits.rglob("*.png"):
        shutil.copy(file, root / "photos" / f"class{file.parent.name}_{file.name}")
    return root / "photos"


def _rows(digits: Path, prefix: str) -> str:
    rows = [
        f"{prefix}{file.parent.name}-{file.name},{file.parent.name},{file.stem[0]}" for file in digits.rglob("*.png")
    ]
    return "\n".join(["path,class,patient", *sorted(rows)])


def _flat_copy(folder: Path, digits: Path) -> None:
    folder.mkdir(parents=True)
    for file in digits.rglob("*.png"):
        shutil.copy(file, folder / f"{file.parent.name}-{file.name}")


def _table_inside(root: Path, digits: Path) -> Path:
    _flat_copy(root / "photos", digits)
    rows = _rows(digits, "")
    (root / "photos" / "labels.csv").write_text("\n".join([*rows.splitlines(), rows.splitlines()[1]]))  # one row twice
    return root / "photos"


def _table_beside(root: Path, digits: Path) -> Path:
    _flat_copy(root / "photos", digits)
    (root / "photos.csv").write_text(_rows(digits, ""))
    return root / "photos"


def _table(root: Path, digits: Path) -> Path:
    """With a path that is not written plainly, and a folder next to it under the table's name."""
    _flat_copy(root / "photos" / "inner", digits)
    (root / "photos.csv").write_text(_rows(digits, "./inner//"))
    return root / "photos.csv"


LAYOUTS = [_class_folders, _split_folders, _flat_files, _table_inside, _table_beside, _table]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_labelled_images_are_the_same(layout: Callable[[Path, Path], Path], digits: Path, tmp_path: Path) -> None:
    data = layout(tmp_path, digits)
    spec = DataSpec(group="patient" if "table" in layout.__name__ else None)
    out = shard(data, tmp_path / "shards", console=QUIET)
    folder, shards = read_images(data, spec), read_images(out, spec)
    for field in ("classes", "train", "validation", "test", "split", "fingerprint"):
        assert getattr(shards, field) == getattr(folder, field), field
    assert [path.read_bytes() for path in shards.training_files] == [
        path.read_bytes() for path in folder.training_files
    ]
    assert set(shards.notes) <= set(folder.notes)  # files that are not images are not there


def test_masks_and_their_classes_are_the_same(scenes: Path, tmp_path: Path) -> None:
    data = tmp_path / "scenes"
    for file in scenes.rglob("*.*"):
        target = (
            data / ("images" if file.suffix == ".jpg" else "masks") / file.name.replace("_sat", "").replace("_mask", "")
        )
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    (data / "classes.txt").write_text(
        "a 0 0 0\nb 0 255 255\nc 255 255 0\nd 255 0 255\ne 0 255 0\nf 0 0 255\ng 255 255 255"
    )
    folder = read_masked(data, MaskDataSpec())
    shards = read_masked(shard(data, tmp_path / "shards", console=QUIET), MaskDataSpec())
    for field in ("classes", "train", "validation", "fingerprint"):
        assert getattr(shards, field) == getattr(folder, field), field


def test_unlabelled_images_are_the_same(digits: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("\n".join(f"digits/{number}/{number}.png" for number in range(3)))
    shutil.copytree(digits, tmp_path / "digits")
    for source in (tmp_path / "digits", tmp_path / "list.txt"):
        out = shard(source, tmp_path / "shards", force=True, console=QUIET)
        folder, shards = read_unlabelled(source), read_unlabelled(out)
        assert (shards.paths, shards.fingerprint) == (folder.paths, folder.fingerprint)


def test_a_part_of_shards_is_a_folder_of_images(digits: Path, tmp_path: Path) -> None:
    out = shard(digits, tmp_path / "shards", console=QUIET)
    assert [path.name for path in list_images([out / "1"])] == images_below(digits / "1")
    assert list_images([str(out / "2" / "3.png")])[0].read_bytes() == (digits / "2" / "3.png").read_bytes()
    (tmp_path / "list.txt").write_text(f"{out}/0/0.png\n{out}/0/1.png\n")
    assert len(read_unlabelled(tmp_path / "list.txt").paths) == 2
    with pytest.raises(UserError, match=r"no images"):
        list_images([out / "7"])


def test_shards_of_shards_are_the_same(digits: Path, tmp_path: Path) -> None:
    first = shard(digits, tmp_path / "first", console=QUIET)
    second = shard(first, tmp_path / "second", console=QUIET)
    assert (first / "shard-00000.tar").read_bytes() == (second / "shard-00000.tar").read_bytes()


def test_formats_that_other_libraries_open_are_decoded_alike(photograph: Tensor, tmp_path: Path) -> None:
    """16-bit PNG, and a TIFF with five bands and a palette file beside it."""
    rasterio = pytest.importorskip("rasterio")
    data = tmp_path / "data"
    data.mkdir()
    pixels = photograph[:, :40, :60].numpy()
    with rasterio.open(data / "bands.tif", "w", "GTiff", 60, 40, 5, dtype="uint8") as file:
        file.write(np.concatenate([pixels, pixels[:2]]))
    Image.fromarray(pixels[0].astype(np.uint16) * 200).save(data / "deep.png")
    with rasterio.open(data / "palette.tif", "w", "GTiff", 60, 40, 1, dtype="uint8", crs="EPSG:3857") as file:
        file.write(pixels[:1])
    (data / "palette.tif.aux.xml").write_text(
        '<PAMDataset><PAMRasterBand band="1"><ColorInterp>Palette</ColorInterp><ColorTable>'
        + "".join(f'<Entry c1="{255 - n}" c2="{n // 2}" c3="7" c4="255"/>' for n in range(256))
        + "</ColorTable></PAMRasterBand></PAMDataset>"
    )
    root = data_path(shard(data, tmp_path / "shards", console=QUIET))
    for name in ("bands.tif", "deep.png", "palette.tif"):
        assert decode(root / name).equal(decode(data / name)), name
    assert (decode(root / "palette.tif")[2] == 7).all()  # its colours are used
