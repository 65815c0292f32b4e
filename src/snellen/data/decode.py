"""Image files as RGB pixels, whatever their kind."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from snellen.errors import UserError

_MOST_PIXELS = 1_000_000_000
Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit refuses honest large images; the one above takes its place


class UnreadableImageError(UserError):
    """A file that is no image, or a damaged one. reason: what is wrong with it, in words."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path}: {reason}. To leave such files out and list them: data.unreadable=skip")


def decode(path: Path, shorter: int | None = None, enough: int | None = None) -> Tensor:
    """The image as (3, H, W) uint8 RGB, upright by its EXIF orientation.

    shorter: an image whose shorter side is longer than this many pixels is reduced to it, antialiased; none is
    enlarged. enough: a JPEG may be decoded at a half, a quarter or an eighth of its size, as long as its shorter side
    stays at least twice this; None: as `shorter`. Grey, palette, CMYK and 16-bit images are converted (16 bits keep
    their upper eight); transparency is laid over white.
    Raises UnreadableImageError for anything that cannot be decoded whole.
    """
    with opened_image(path) as opened:
        enough = enough or shorter
        if enough is not None and opened.format == "JPEG" and min(opened.size) >= 2 * enough:
            factor = 2 * enough / min(opened.size)
            opened.draft(None, (int(opened.width * factor), int(opened.height * factor)))
        image = as_rgb(opened, path)
        image = ImageOps.exif_transpose(image)
    if shorter is not None and min(image.size) > shorter:
        factor = shorter / min(image.size)
        size = [max(shorter, round(side * factor)) for side in image.size]
        image = image.resize((size[0], size[1]), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


@contextmanager
def opened_image(path: Path) -> Iterator[Image.Image]:
    """An image file, open; whatever is wrong with it, also while its pixels are read, is an UnreadableImageError."""
    try:
        with warnings.catch_warnings(), Image.open(path) as opened:
            warnings.simplefilter("ignore")  # odd metadata in a good image is no news
            if opened.width * opened.height > _MOST_PIXELS:
                raise UnreadableImageError(
                    path, f"{opened.width} x {opened.height} pixels, more than a thousand million"
                )
            yield opened
    except UnidentifiedImageError:
        empty = path.stat().st_size == 0
        raise UnreadableImageError(path, "the file is empty" if empty else "not an image that can be read") from None
    except FileNotFoundError:
        raise UnreadableImageError(path, "no such file") from None
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, MemoryError) as error:
        raise UnreadableImageError(path, f"damaged image ({str(error) or type(error).__name__})") from error


def as_rgb(image: Image.Image, path: Path) -> Image.Image:
    """An image, or a part of one, of any of Pillow's modes as RGB. path: for the message of UnreadableImageError."""
    exif = image.getexif()
    if image.mode.startswith("I"):
        values = np.asarray(image)
        converted = Image.fromarray((values.clip(0, 65535) >> 8).astype(np.uint8)).convert("RGB")
    elif image.mode == "F":
        raise UnreadableImageError(path, "floating-point pixels of unknown range; save it with 8 or 16 bits a channel")
    elif image.mode in {"RGBA", "LA", "PA", "RGBa", "La"} or "transparency" in image.info:
        layers = image.convert("RGBA")
        white = Image.new("RGBA", layers.size, (255, 255, 255, 255))
        converted = Image.alpha_composite(white, layers).convert("RGB")
    else:
        converted = image.convert("RGB")
    converted.info["exif"] = exif.tobytes()  # keeps the orientation for exif_transpose
    return converted
