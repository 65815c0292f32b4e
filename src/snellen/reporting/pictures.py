"""Small pictures for the report, as data URLs, so that the page needs no other file."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from snellen.data.decode import decode
from snellen.errors import UserError

_MISSING = (128, 128, 128)
_PANEL = 192  # px
# Matplotlib's inferno (CC0, by N. Smith and S. van der Walt): lightness rises evenly, also without colour vision.
_HEAT_AT = (0.0, 0.25, 0.5, 0.75, 1.0)
_HEAT = ((0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164))


def thumbnail(path: Path, bits: int | None, side: int = 112) -> str | None:
    """A JPEG whose shorter side is at most `side`, cropped to a square; None when the file is gone or unreadable.

    bits: as in `decode`.
    """
    image = _square(path, side, bits)
    return None if image is None else jpeg(image)


def thumbnails(paths: Sequence[Path], bits: int | None) -> list[str]:
    """Small pictures of the files that can be read."""
    return [picture for path in paths if (picture := thumbnail(path, bits, side=72)) is not None]


def sprite(paths: Sequence[Path], bits: int | None) -> str:
    """All images as one JPEG, 40 to a row, each 40 x 40; a grey square if a file is gone."""
    side, columns = 40, 40
    rows = -(-len(paths) // columns)
    sheet = Image.new("RGB", (columns * side, max(1, rows) * side), _MISSING)
    for number, path in enumerate(paths):
        image = _square(path, side, bits)
        if image is not None:
            sheet.paste(image.resize((side, side)), (number % columns * side, number // columns * side))
    return jpeg(sheet, quality=70)


def photograph(path: Path, side: int, bits: int | None) -> Image.Image | None:
    """An image whose shorter side is at most `side` px; None when the file is gone or unreadable.

    bits: as in `decode`.
    """
    try:
        pixels = decode(path, side, bits=bits)
    except UserError:
        return None
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())


def panel(pixels: NDArray[np.uint8]) -> Image.Image:
    """A square image of (S, S, 3) for a page: enlarged by repeating pixels if small, reduced if large."""
    image, side = Image.fromarray(pixels), len(pixels)
    if side < _PANEL:
        side *= -(-_PANEL // side)
        return image.resize((side, side), Image.Resampling.NEAREST)
    return image.resize((_PANEL, _PANEL), Image.Resampling.LANCZOS)


def heated(image: Image.Image, heat: NDArray[np.float32]) -> Image.Image:
    """A map in [0, 1], (H, W), as colours over the image in grey: from clear through red to yellow."""
    resized = Image.fromarray(heat).resize(image.size, Image.Resampling.BILINEAR)
    share = np.asarray(resized)[..., None]  # (h, w, 1)
    colours = np.stack([np.interp(share[..., 0], _HEAT_AT, channel) for channel in zip(*_HEAT, strict=True)], axis=2)
    grey = np.asarray(image.convert("L").convert("RGB"), dtype=np.float32)
    opacity = 0.1 + 0.7 * share**0.75
    return Image.fromarray(((1 - opacity) * grey + opacity * colours).round().astype(np.uint8))


def _square(path: Path, side: int, bits: int | None) -> Image.Image | None:
    image = photograph(path, side, bits)
    if image is None:
        return None
    shorter = min(image.size)
    left, top = (image.width - shorter) // 2, (image.height - shorter) // 2
    return image.crop((left, top, left + shorter, top + shorter))


def jpeg(image: Image.Image, quality: int = 82) -> str:
    """The image as a JPEG, in a data URL."""
    data = io.BytesIO()
    image.save(data, format="JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()
