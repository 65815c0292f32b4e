"""Images that a caller passes from Python: files, or pixels without a file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, from_numpy

from snellen.data.bands import eight_bits
from snellen.data.decode import as_rgb, upright
from snellen.data.sources import list_images
from snellen.data.unreadable import UnreadableImageError
from snellen.errors import UserError
from snellen.words import kind_of

if TYPE_CHECKING:
    Images = str | os.PathLike[str] | Image.Image | NDArray[np.generic] | Iterable["Images"]

_ARRAYS = "(H, W, 3), (H, W) or (H, W, 4) uint8, or (H, W) or (H, W, 3) uint16"
_WANTED = f"expected a path, a folder, a glob, a PIL image, a numpy array {_ARRAYS}, or a list of these"


@dataclass(frozen=True, eq=False)
class ImageInMemory:
    """An image without a file. position: in the caller's list; it takes the place of the path in tables.

    pixels: a PIL image of any mode, or an array as in `_ARRAYS`: grey, RGB, or RGBA, which is composited over white.
    """

    position: int
    pixels: Image.Image | NDArray[np.generic]

    def __str__(self) -> str:
        return str(self.position)

    @property
    def name(self) -> Path:
        """The name of the image in messages."""
        return Path(f"image {self.position}")

    @property
    def height_and_width(self) -> tuple[int, int]:
        """Its size in pixels, as stored."""
        if isinstance(self.pixels, Image.Image):
            return self.pixels.height, self.pixels.width
        return self.pixels.shape[0], self.pixels.shape[1]

    def rgb(self, bits: int | None) -> Image.Image:
        """The image as `decode` would return it: upright, RGB. bits: as there. Raises UnreadableImageError."""
        try:
            if isinstance(self.pixels, Image.Image):
                return upright(self.pixels, as_rgb(self.pixels, self.name, bits))
            values = eight_bits(self.pixels, bits or 16)
            return as_rgb(Image.fromarray(values[..., 0] if values.shape[2:] == (1,) else values), self.name)
        except UserError:
            raise
        except Exception as error:  # from a file that PIL opened and decodes only now
            raise UnreadableImageError(self.name, f"damaged image ({error})") from error

    def decode(self, bits: int | None) -> Tensor:
        """(3, H, W) uint8 RGB. Raises UnreadableImageError."""
        return from_numpy(np.array(self.rgb(bits))).permute(2, 0, 1)


def key_of(image: Path | ImageInMemory) -> str | int:
    """The key of an image in a table: its path, or its position in the caller's list."""
    return image.position if isinstance(image, ImageInMemory) else str(image)


def path_of(image: Path | ImageInMemory) -> Path:
    """The path of an image, or the name that takes its place."""
    return image.name if isinstance(image, ImageInMemory) else image


def given_images(images: Images) -> list[Path | ImageInMemory]:
    """The images that `images` stands for, in its order; those of a folder or a glob sorted by path.

    An array (N, H, W, C) is N images. Raises UserError for anything that is not an image, and if there is none.
    """
    result: list[Path | ImageInMemory] = []
    for image in _one_by_one(images):
        if isinstance(image, str | os.PathLike):
            result += list_images([os.fspath(image)])
            continue
        if isinstance(image, np.ndarray):
            _check_array(image, len(result))
        elif not isinstance(image, Image.Image):
            raise UserError(f"image {len(result)}: {_WANTED}, got {kind_of(image)}.{_hint(image)}")
        result.append(ImageInMemory(len(result), image))
    if not result:
        raise UserError(f"no images: {_WANTED}.")
    return result


def _one_by_one(images: object) -> Iterator[object]:
    is_single = isinstance(images, str | os.PathLike | Image.Image)
    if is_single or (isinstance(images, np.ndarray) and images.ndim != 4 and images.dtype != object):
        yield images
    elif not isinstance(images, Iterable) or isinstance(images, bytes | Mapping) or _hint(images):
        raise UserError(f"images: {_WANTED}, got {kind_of(images)}.{_hint(images)}")
    else:
        yield from images


def _check_array(array: NDArray[np.generic], position: int) -> None:
    shape = f"an array {array.shape} of {array.dtype}"
    channels = array.shape[2:] or (1,)
    deepest = 4 if array.dtype == np.uint8 else 3
    if array.dtype in {np.dtype(np.uint8), np.dtype(np.uint16)} and array.size:
        if array.ndim in {2, 3} and channels in {(1,), (3,), (deepest,)}:
            return
        if array.ndim == 3 and array.shape[0] in {1, 3}:
            raise UserError(f"image {position}: {shape}; the channels come last: array.transpose(1, 2, 0).")
    elif np.issubdtype(array.dtype, np.floating):
        raise UserError(
            f"image {position}: {shape}; expected integers. Convert values from 0 to 1 with (255 * array).round()"
            ".astype('uint8')."
        )
    raise UserError(f"image {position}: {shape}; expected {_ARRAYS}.")


def _hint(images: object) -> str:
    """How to convert values that are often passed instead of images."""
    kind = type(images)
    if kind.__name__ == "DataFrame":
        return " Pass its column of paths, as in frame['path']."
    if kind.__module__.partition(".")[0] == "torch":
        return " Convert a tensor (3, H, W) with tensor.permute(1, 2, 0).numpy()."
    return ""
