"""A TIFF has the same pixels in training (decode) and in prediction (open_raster), whatever its bands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from PIL import Image
from rasterio.transform import from_origin

from snellen.data import bands as bands_module
from snellen.data.bands import tiff_header
from snellen.data.decode import UnreadableImageError, decode, kind_and_size
from snellen.data.rasters import open_raster

VALUES = np.random.default_rng(1).integers(0, 256, (6, 20, 30), np.uint8)


def write(path: Path, values: NDArray[np.generic], geo: bool, **options: object) -> Path:
    profile = {"count": len(values), "height": 20, "width": 30, "dtype": values.dtype.name} | options
    if geo:
        profile |= {"crs": "EPSG:32632", "transform": from_origin(500_000, 5_000_000, 0.5, 0.5)}
    with rasterio.open(path, "w", driver="GTiff", **profile) as file:
        file.write(values)
    return path


def in_training(path: Path, bits: int | None = None) -> NDArray[np.uint8]:
    return decode(path, bits=bits).permute(1, 2, 0).numpy()


def in_prediction(path: Path, bits: int | None = None) -> NDArray[np.uint8]:
    raster = open_raster(path, bits)
    halves = [raster.read(0, 0, 20, 13), raster.read(0, 13, 20, 17)]
    raster.close()
    return np.concatenate(halves, axis=1)


@pytest.mark.parametrize("geo", [True, False])
@pytest.mark.parametrize("photometric", ["minisblack", "rgb"])
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("count", [1, 3, 4, 6])
def test_training_sees_what_prediction_sees(
    tmp_path: Path, count: int, depth: int, photometric: str, geo: bool
) -> None:
    if count == 1 and photometric == "rgb":
        return
    values = VALUES[:count] if depth == 8 else VALUES[:count].astype(np.uint16) * 257
    path = write(tmp_path / "scene.TIF", values, geo, photometric=photometric)
    pixels = in_training(path)
    np.testing.assert_array_equal(pixels, in_prediction(path))
    header = tiff_header(path)
    assert header is not None
    if geo or not header.alpha or count == 6:
        np.testing.assert_array_equal(
            pixels,
            np.broadcast_to(np.moveaxis(VALUES[: min(count, 3)], 0, -1), pixels.shape)
            if count >= 3
            else np.repeat(VALUES[0][..., None], 3, -1),
        )
    assert kind_and_size(path)[1:] == (30, 20)


@pytest.mark.parametrize("depth", [8, 16])
def test_alpha_of_a_picture_is_composited_over_white(tmp_path: Path, depth: int) -> None:
    """A TIFF without georeference whose fourth band is marked as alpha: as Pillow composes it."""
    values = VALUES[:4] if depth == 8 else VALUES[:4].astype(np.uint16) * 257
    path = write(tmp_path / "logo.tif", values, False, photometric="rgb", alpha="NON-PREMULTIPLIED")
    layers = Image.fromarray(np.moveaxis(VALUES[:4], 0, -1), "RGBA")
    white = Image.new("RGBA", layers.size, (255, 255, 255, 255))
    expected = np.asarray(Image.alpha_composite(white, layers).convert("RGB")).astype(int)
    assert abs(in_training(path) - expected).max() <= (0 if depth == 8 else 1)
    np.testing.assert_array_equal(in_training(path), in_prediction(path))


def test_a_deep_colour_picture_is_turned_upright(tmp_path: Path) -> None:
    path = write(tmp_path / "turned.tif", VALUES[:3].astype(np.uint16) * 257, False, photometric="rgb")
    with rasterio.open(path, "r+") as file:
        assert file.dtypes[0] == "uint16"
    content = bytearray(path.read_bytes())
    assert tiff_header(path).orientation == 1  # type: ignore[union-attr]
    start = int.from_bytes(content[4:8], "little")
    entries = int.from_bytes(content[start : start + 2], "little")
    for entry in range(start + 2, start + 2 + 12 * entries, 12):
        if int.from_bytes(content[entry : entry + 2], "little") == 284:  # PlanarConfiguration=1, the default: overwrite
            content[entry : entry + 2] = (274).to_bytes(2, "little")
            content[entry + 8 : entry + 10] = (6).to_bytes(2, "little")
    path.write_bytes(content)
    expected = np.rot90(np.moveaxis(VALUES[:3], 0, -1), -1)
    np.testing.assert_array_equal(in_training(path), expected)
    raster = open_raster(path)
    np.testing.assert_array_equal(raster.read(0, 0, 30, 20), expected)


def test_without_rasterio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GeoTIFF of bytes has the same pixels; what Pillow cannot read whole says what is missing."""
    photo = write(tmp_path / "photo.tif", VALUES[:4], True, photometric="rgb")
    grey = write(tmp_path / "grey.tif", VALUES[:1], True)
    deep = write(tmp_path / "deep.tif", VALUES[:3].astype(np.uint16), False, photometric="rgb")
    with_it = [in_training(photo), in_training(grey)]
    monkeypatch.setattr(bands_module, "find_spec", lambda name: None)
    np.testing.assert_array_equal(in_training(photo), with_it[0])
    np.testing.assert_array_equal(in_training(grey), with_it[1])
    with pytest.raises(UnreadableImageError, match=r"deep.tif: a TIFF with 3 bands of 16 bits .* 'snellen\[geo\]'"):
        decode(deep)


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("count", [1, 3, 6])
def test_bits(tmp_path: Path, bits: int, count: int) -> None:
    values = np.random.default_rng(2).integers(0, 2**bits, (count, 20, 30)).astype(np.uint16)
    path = write(tmp_path / "deep.tif", values, True)
    pixels = in_training(path, bits)
    rgb = np.moveaxis(values[:3] if count >= 3 else values[:1], 0, -1) / 2 ** (bits - 8)
    np.testing.assert_array_equal(pixels, np.broadcast_to(np.floor(rgb), pixels.shape))
    np.testing.assert_array_equal(pixels, in_prediction(path, bits))
