"""Uploaded bytes as pixels; torch is not needed."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from snellen.data.decode import as_rgb, is_deep_png, upright
from snellen.serving.limits import RefusedError

Image.init()  # registers WebP too
_FORMATS: list[str] = [name for name in ("JPEG", "PNG", "WEBP", "GIF", "BMP") if name in Image.OPEN]
_ACCEPTED = "Send a JPEG, PNG, WebP, GIF or BMP file with 8 bits per channel."


def decoded(content: bytes, most_pixels: int) -> NDArray[np.uint8]:
    """An image file as (H, W, 3) uint8 RGB: upright, transparency composited over white, the first frame.

    The size in its header is compared with `most_pixels` before anything is decoded. Raises RefusedError.
    """
    with _refusing(), Image.open(io.BytesIO(content), formats=_FORMATS) as opened:
        if opened.width * opened.height > most_pixels:
            raise RefusedError(
                413, f"The image has {opened.width:,} x {opened.height:,} pixels; at most {most_pixels:,} are accepted."
            )
        if opened.mode.startswith("I") or is_deep_png(opened):
            raise RefusedError(415, f"The image has 16 bits per channel. {_ACCEPTED}")
        return np.asarray(upright(opened, as_rgb(opened, Path("upload"))))


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except RefusedError:
        raise
    except UnidentifiedImageError:
        raise RefusedError(415, f"This is not an image that can be read. {_ACCEPTED}") from None
    except Image.DecompressionBombError:
        raise RefusedError(413, "The image has too many pixels.") from None
    except Exception:  # Pillow's decoders raise many kinds of errors; their words are for programmers
        raise RefusedError(400, "The image is damaged or not complete.") from None
