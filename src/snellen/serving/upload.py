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
_MEDIA = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif", "BMP": "image/bmp"}
_FORMATS = [name for name in _MEDIA if name in Image.OPEN]
_ACCEPTED = "Send a JPEG, PNG, WebP, GIF or BMP file with 8 bits per channel."


class Upload:
    """An image file, of which only the header has been read. Raises RefusedError for what is not accepted.

    most_pixels: that its header may name. size: bytes of its pixels. media: its type, such as image/jpeg.
    """

    def __init__(self, content: bytes, most_pixels: int) -> None:
        self._content = content
        with self._opened() as image:
            if image.width * image.height > most_pixels:
                size = f"{image.width:,} x {image.height:,} pixels"
                raise RefusedError(413, f"The image has {size}; at most {most_pixels:,} are accepted.")
            if image.mode.startswith("I") or is_deep_png(image):
                raise RefusedError(415, f"The image has 16 bits per channel. {_ACCEPTED}")
            self.size = 3 * image.width * image.height
            self.media = _MEDIA.get(image.format or "", "image/jpeg")  # MPO: a JPEG file with further images

    def pixels(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB: upright, transparency composited over white, the first frame."""
        with self._opened() as image:
            return np.asarray(upright(image, as_rgb(image, Path("upload"))))

    @contextmanager
    def _opened(self) -> Iterator[Image.Image]:
        try:
            with Image.open(io.BytesIO(self._content), formats=_FORMATS) as image:
                yield image
        except RefusedError:
            raise
        except UnidentifiedImageError:
            raise RefusedError(415, f"This is not an image that can be read. {_ACCEPTED}") from None
        except Image.DecompressionBombError:
            raise RefusedError(413, "The image has too many pixels.") from None
        except MemoryError:
            raise RefusedError(503, "There is not enough memory for this image now.") from None
        except Exception:  # Pillow's decoders raise many kinds of errors; their words are for programmers
            raise RefusedError(400, "The image is damaged or not complete.") from None
