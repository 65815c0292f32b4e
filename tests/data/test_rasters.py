"""Parts of an image are those of the whole image, whatever its kind; PNG written by rows is read back by Pillow."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from rasterio.transform import from_origin

from snellen import UserError
from snellen.data.decode import UnreadableImageError, decode
from snellen.data.png import PngWriter
from snellen.data.rasters import open_raster

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)


def read_in_windows(path: Path) -> NDArray[np.uint8]:
    """The image, read in parts of uneven sizes."""
    raster = open_raster(path)
    assembled = np.zeros((raster.height, raster.width, 3), np.uint8)
    for top in range(0, raster.height, 17):
        for left in range(0, raster.width, 13):
            size = min(17, raster.height - top), min(13, raster.width - left)
            assembled[top : top + 17, left : left + 13] = raster.read(top, left, *size)
    raster.close()
    return assembled


def write_geotiff(path: Path, bands: NDArray[np.generic], **options: object) -> Path:
    profile = {"count": len(bands), "height": bands.shape[1], "width": bands.shape[2], "dtype": bands.dtype.name}
    profile |= {"crs": "EPSG:32632", "transform": from_origin(500_000, 5_000_000, 0.5, 0.5)} | options
    with rasterio.open(path, "w", driver="GTiff", **profile) as file:
        file.write(bands)
    return path


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "CMYK", "RGBA", "LA", "1", "I;16"])
def test_parts_are_those_of_the_decoded_image(tmp_path: Path, mode: str) -> None:
    if mode == "I;16":
        image = Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257)
    else:
        image = (
            Image.fromarray(PIXELS).convert("L").convert(mode)
            if mode == "LA"
            else Image.fromarray(PIXELS).convert(mode)
        )
    path = tmp_path / f"image.{'tif' if mode == 'CMYK' else 'png'}"
    image.save(path)
    np.testing.assert_array_equal(read_in_windows(path), decode(path).permute(1, 2, 0).numpy())


def test_an_image_is_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by the camera
    Image.fromarray(PIXELS).save(tmp_path / "photo.png", exif=exif)
    np.testing.assert_array_equal(read_in_windows(tmp_path / "photo.png"), np.rot90(PIXELS, -1))


@pytest.mark.parametrize("scale", [1, 256])
def test_geotiff_of_four_bands_shows_the_first_three(tmp_path: Path, scale: int) -> None:
    bands = np.concatenate([np.moveaxis(PIXELS, -1, 0), np.zeros((1, 40, 30), np.uint8)])
    kind = np.uint8 if scale == 1 else np.uint16
    path = write_geotiff(tmp_path / "scene.tif", bands.astype(kind) * kind(scale), photometric="minisblack")
    np.testing.assert_array_equal(read_in_windows(path), PIXELS)
    raster = open_raster(path)
    assert raster.georeference is not None
    assert raster.georeference["crs"].to_epsg() == 32632


def test_pixels_without_data_are_known(tmp_path: Path) -> None:
    bands = np.full((1, 8, 9), 50, np.uint8)
    bands[0, :3] = 0
    raster = open_raster(write_geotiff(tmp_path / "scene.tif", bands, nodata=0))
    valid = raster.valid(2, 0, 4, 9)
    assert valid is not None
    np.testing.assert_array_equal(valid, np.arange(2, 6)[:, None] >= np.array([[3] * 9]))


def test_damage_is_named_when_the_part_is_read(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (3, 200, 200), np.uint8)
    path = write_geotiff(tmp_path / "scene.tif", noise, compress="deflate")
    path.write_bytes(path.read_bytes()[:60_000])
    with pytest.raises(UnreadableImageError, match=r"scene\.tif: damaged image"):
        read_in_windows(path)


def test_fractions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImageError, match="float32; save it with 8 or 16 bits"):
        open_raster(write_geotiff(tmp_path / "scene.tif", np.zeros((1, 4, 4), np.float32)))


def test_without_rasterio_a_geotiff_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_geotiff(tmp_path / "scene.tif", np.zeros((3, 8, 8), np.uint8))
    Image.fromarray(PIXELS).save(tmp_path / "plain.tif")
    monkeypatch.setattr(sys, "path", [])
    for name in [name for name in sys.modules if name.split(".")[0] == "rasterio"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(UserError, match=r"scene\.tif: a GeoTIFF.*pip install 'snellen\[geo\]'"):
        open_raster(path)
    np.testing.assert_array_equal(read_in_windows(tmp_path / "plain.tif"), PIXELS)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 17), st.sampled_from(["grey", "palette", "rgb"]))
def test_png_by_rows(tmp_path_factory: pytest.TempPathFactory, height: int, width: int, step: int, kind: str) -> None:
    pixels = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)
    rows_to_write = pixels if kind == "rgb" else pixels[..., 0]
    palette = np.random.default_rng(2).integers(0, 256, (256, 3)).tolist() if kind == "palette" else None
    path = tmp_path_factory.mktemp("png") / "image.png"
    with path.open("wb") as file, PngWriter(file, width, height, palette, 3 if kind == "rgb" else 1) as writer:
        for top in range(0, height, step):
            writer.rows(rows_to_write[top : top + step])
    with Image.open(path) as image:
        assert image.mode == {"grey": "L", "palette": "P", "rgb": "RGB"}[kind]
        np.testing.assert_array_equal(np.asarray(image), rows_to_write)
        if palette is not None:
            np.testing.assert_array_equal(np.asarray(image.convert("RGB")), np.array(palette)[rows_to_write])
