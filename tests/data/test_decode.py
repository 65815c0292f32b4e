"""Images of every kind become the pixels that a viewer shows; damaged ones are named."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from snellen.data.cache import channel_statistics, load_pixels, pad
from snellen.data.decode import UnreadableImageError, decode
from snellen.data.store import CacheBudget


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    from sklearn.datasets import load_sample_image

    return Image.fromarray(load_sample_image("china.jpg")).resize((96, 64))


def as_array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.permute(1, 2, 0).numpy()


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGBA", "LA", "1"])
def test_modes(tmp_path: Path, photo: Image.Image, mode: str) -> None:
    image = photo.convert("L").convert("LA") if mode == "LA" else photo.convert(mode)
    path = tmp_path / f"image.{'tif' if mode == 'CMYK' else 'png'}"
    image.save(path)
    expected = np.asarray(image.convert("RGB"))
    assert decode(path).shape == (3, 64, 96)
    np.testing.assert_array_equal(as_array(decode(path)), expected)


def test_transparency_is_composited_over_white(tmp_path: Path) -> None:
    Image.new("RGBA", (5, 5), (200, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (decode(tmp_path / "clear.png") == 255).all()


def test_sixteen_bits_keep_their_upper_eight(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
    Image.fromarray(values).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(decode(tmp_path / "deep.png")[0].numpy(), values >> 8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, photo: Image.Image, orientation: int) -> None:
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored_photo = photo.transpose(turns[orientation]) if orientation in turns else photo
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored_photo.save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(as_array(decode(tmp_path / "turned.png")), np.asarray(photo))


def test_one_pixel_and_very_wide(tmp_path: Path) -> None:
    Image.new("RGB", (1, 1), (1, 2, 3)).save(tmp_path / "dot.png")
    assert decode(tmp_path / "dot.png", 32).flatten().tolist() == [1, 2, 3]
    Image.new("L", (20_000, 40), 9).save(tmp_path / "wide.png")
    assert decode(tmp_path / "wide.png", 10).shape == (3, 10, 5000)


def test_reduction_is_pillows_antialiased_one(tmp_path: Path, photo: Image.Image) -> None:
    photo.save(tmp_path / "p.png")
    expected = photo.resize((48, 32), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(as_array(decode(tmp_path / "p.png", 32)), np.asarray(expected))
    assert decode(tmp_path / "p.png", 200).shape == (3, 64, 96), "nothing is enlarged"


def damaged(kind: str, photo: Image.Image) -> bytes:
    data = io.BytesIO()
    photo.save(data, format="PNG" if kind == "broken png" else "JPEG")
    content = data.getvalue()
    if kind == "truncated":
        return content[: len(content) // 2]
    if kind == "empty":
        return b""
    if kind == "broken png":
        return content[:60] + b"\x00" * 20 + content[80:]
    return b"this is a text"


@pytest.mark.parametrize("kind", ["truncated", "empty", "broken png", "text"])
def test_damaged_files_are_named(tmp_path: Path, photo: Image.Image, kind: str) -> None:
    path = tmp_path / "bad.jpg"
    path.write_bytes(damaged(kind, photo))
    with pytest.raises(UnreadableImageError, match=r"bad.jpg: .*data.unreadable=skip"):
        decode(path)


def test_names_of_any_kind(tmp_path: Path, photo: Image.Image) -> None:
    for name in ("写真 – été.png", "x" * 240 + ".png", "a b%20[1].png"):
        photo.save(tmp_path / name)
        assert decode(tmp_path / name).shape == (3, 64, 96)


@pytest.mark.parametrize("limit", [0, 1, 1000])
@pytest.mark.parametrize("has_mixed_sizes", [False, True])
def test_cache_gives_the_same_pixels_whatever_fits(tmp_path: Path, limit: int, has_mixed_sizes: bool) -> None:
    generator = np.random.default_rng(0)
    paths = []
    for n in range(40):
        size = (120 + (n % 3 if has_mixed_sizes else 0), 100, 3)
        paths.append(tmp_path / f"{n}.png")
        Image.fromarray(generator.integers(0, 256, size, dtype=np.uint8)).save(paths[-1])
    paths[7].write_bytes(b"broken")
    pixels, unreadable = load_pixels(paths, None, CacheBudget(limit))
    assert [error.path for error in unreadable] == [paths[7]]
    assert len(pixels) == 39
    assert pixels.complete == (limit == 1000)
    rows = torch.tensor([3, 38, 3, 6])
    raw = pixels.gather(rows)
    readable = [path for path in paths if path != paths[7]]
    for image, size, row in zip(raw.pixels, raw.sizes.tolist(), rows.tolist(), strict=True):
        expected = np.asarray(Image.open(readable[row]))
        assert tuple(size) == expected.shape[:2]
        np.testing.assert_array_equal(as_array(image)[: size[0], : size[1]], expected)
        assert image[:, size[0] :].sum() == 0
    mean, std = channel_statistics(pixels)
    all_pixels = np.concatenate([np.asarray(Image.open(path)).reshape(-1, 3) for path in readable]) / 255
    np.testing.assert_allclose(mean, all_pixels.mean(0), atol=1e-12)
    np.testing.assert_allclose(std, all_pixels.std(0), atol=1e-12)


def test_padding_is_black() -> None:
    raw = pad([torch.full((3, 2, 4), 9, dtype=torch.uint8), torch.full((3, 5, 1), 7, dtype=torch.uint8)])
    assert raw.pixels.shape == (2, 3, 5, 4)
    assert not raw.uniform
    assert raw.pixels.sum() == 3 * (8 * 9 + 5 * 7)
