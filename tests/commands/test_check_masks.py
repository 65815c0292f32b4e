"""`snellen check` on images with masks: what it counts, lists and draws."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from snellen.commands.check import check
from snellen.data.masks.overlay import coloured, overlaid
from snellen.data.masks.scenes import draw_scenes
from snellen.errors import UserError
from snellen.tasks.segmentation.check import MaskCheck


def text(result: MaskCheck) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(result.render())
    return console.export_text()


def test_counts_lists_and_overlays(tmp_path: Path) -> None:
    data = tmp_path / "data"
    draw_scenes(data, 6, size=64, seed=5, validation_share=0.34)
    masks = [np.asarray(Image.open(path)) for path in sorted(data.glob("*/*_mask.png"))]
    water = sum(int((mask == (0, 0, 255)).all(-1).sum()) for mask in masks)
    Image.new("RGB", (64, 64)).save(data / "train" / "9998_sat.jpg")
    Image.new("RGB", (64, 64)).save(data / "train" / "9999_sat.jpg")
    Image.new("RGB", (64, 60)).save(data / "train" / "9999_mask.png")
    result = check(data, out=tmp_path / "overlays", overlays=3)
    assert isinstance(result, MaskCheck)
    water_index = result.images.classes.names.index("water")
    assert result.train[water_index] + result.validation[water_index] == water
    assert result.train.sum() + result.validation.sum() == 6 * 64 * 64
    assert result.sizes == {(64, 64): 6}
    assert result.formats == {"PNG RGB": 6}
    output = text(result)
    assert "9998_sat.jpg: an image with no mask" in output
    assert "9999_mask.png: a mask of 64 x 60 px, but its image has 64 x 64" in output
    assert "data.unpaired=skip" in output
    assert "data.unreadable=skip" in output
    share = result.train[water_index] / result.train[:-1].sum()
    assert f"{share:.2%}" in output
    files = sorted((tmp_path / "overlays").iterdir())
    assert files == sorted(result.overlays)
    assert files[0].name == "train__0000_sat.png"
    with Image.open(files[0]) as sheet:
        assert sheet.width == 3 * 256  # small images are enlarged


def test_overlays_are_only_drawn_of_masks(digits: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no images with masks, so there are no overlays"):
        check(digits, out=tmp_path / "overlays")


def test_an_overlay_is_between_image_and_class() -> None:
    mask = np.array([[0, 0, 0], [0, 0, 255], [0, 0, 255]], dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    image = np.full((*mask.shape, 3), 100, dtype=np.uint8)
    overlay = overlaid(image, mask, [(200, 0, 50)], opacity=0.25)
    assert overlay[0, 0].tolist() == [125, 75, 88]
    assert overlay[4, 8].tolist() == coloured(mask, [(200, 0, 50)])[4, 8].tolist()  # a border
    grey = coloured(mask, [(200, 0, 50)])[mask == 255]
    assert (grey.max(1) == grey.min(1)).all()


def test_masks_that_do_not_fit_are_named_and_shown(tmp_path: Path) -> None:
    data = tmp_path / "data"
    draw_scenes(data, 24, size=160, seed=5, validation_share=0.25)
    files = sorted((data / "train").glob("*_mask.png"))
    aside, uniform = files[3], files[7]
    mask = np.asarray(Image.open(aside))
    Image.fromarray(np.roll(mask, (6, -4), axis=(0, 1))).save(aside)
    Image.new("RGB", (160, 160), tuple(mask[0, 0])).save(uniform)
    result = check(data, report=tmp_path / "page.html")
    assert isinstance(result, MaskCheck)
    name = f"train/{aside.name}"
    assert [result.fits.masks[misfit.row] for misfit in result.fits.found.moved] == [name]
    assert result.uniform == [f"train/{uniform.name}"]
    assert f"mask: {name}: fits better 6 px up and 4 px right" in text(result)
    assert f"1 mask of one class only: train/{uniform.name}" in text(result)
    assert result.as_dict()["mask_fits"]["moved"][0]["down"] == -6
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "fits better 6 px up and 4 px right" in page
    assert page.count('alt="train/') == 2  # as it is, and moved
