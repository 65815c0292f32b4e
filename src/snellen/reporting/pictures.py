"""Small pictures for the report, as data URLs, so that the page needs no other file."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from snellen.data.decode import decode
from snellen.errors import UserError

_MISSING = (128, 128, 128)


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
