"""Mask files of all kinds as class numbers: index, palette, colour, grey, 1-bit, 16-bit, with transparency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from snellen.data.decode import UnreadableImageError, opened_image, upright
from snellen.data.masks.classes import IGNORE, ClassTable, rgb_text

_JPEG_TOLERANCE = 48
_BLURRED = 0.1  # share of a JPEG's pixels, at borders of classes, that may match no colour
_PURE_TOLERANCE = 63
_MOST_NAMED = 5
_BYTES = 40  # per pixel, at most, while colours or values become classes
_BEYOND = 65536  # stands for all values above 16 bits


@dataclass(frozen=True)
class MaskReading:
    """How masks are interpreted.

    tolerance: greatest distance of a colour's channels from the class's colour; None: 0, or 48 in a JPEG, or 63 if
    colours are binarised; at most a tenth of the pixels may exceed it. unlisted: what to do with values and colours
    that belong to no class.
    """

    table: ClassTable
    tolerance: int | None = None
    unlisted: Literal["error", "ignore"] = "error"


@dataclass(frozen=True)
class MaskPixels:
    """A mask file before its classes are known.

    image: its pixels, upright. values: (h, w) unsigned whole numbers as stored (of a palette: the indices), None for a
    colour mask. mode: Pillow's name of the pixel format. jpeg: whether it is compressed lossily.
    """

    image: Image.Image
    values: NDArray[np.unsignedinteger] | None
    mode: str
    jpeg: bool

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.image.height, self.image.width

    @property
    def palette(self) -> NDArray[np.uint8]:
        """(n, 3) colours of the indices; n = 0 if the file has no palette."""
        return np.array(self.image.getpalette() or [], dtype=np.uint8).reshape(-1, 3)

    @property
    def colours(self) -> NDArray[np.uint8]:
        """(h, w, 3); transparency is ignored."""
        return np.array(self.image.convert("RGB"))


def decode_mask(path: Path, reading: MaskReading, size: tuple[int, int] | None = None) -> Tensor:
    """The mask as (h, w) uint8: class numbers, IGNORE where nothing is scored.

    size: the required height and width, those of its image. Raises UnreadableImageError for a file that cannot be
    decoded, has another size, or contains values or colours of no class (unless `reading` ignores them).
    """
    mask = open_mask(path)
    height, width = mask.size
    if size is not None and mask.size != size:
        turned = ", turned upright by its EXIF data" if size == (width, height) else ""
        raise UnreadableImageError(
            path, f"a mask of {width} x {height} px, but its image has {size[1]} x {size[0]}{turned}"
        )
    if reading.table.coding == "index":
        return torch.from_numpy(_by_value(path, mask, reading))
    return torch.from_numpy(_by_colour(path, mask, reading))


def open_mask(path: Path) -> MaskPixels:
    """The pixels of a mask file, upright by its EXIF orientation. Raises UnreadableImageError."""
    with opened_image(path, more=_BYTES) as opened:
        mode, jpeg = opened.mode, opened.format in {"JPEG", "MPO"}
        image = upright(opened)
        if mode in {"LA", "La"}:
            image = image.getchannel(0)
        if mode in {"1", "L", "LA", "La", "P"}:
            return MaskPixels(image, np.array(image).astype(np.uint8), mode, jpeg)
        if mode.startswith("I") or mode == "F":
            values = _integers(path, np.array(image))
            image = Image.fromarray(np.where(values > 255, 0, values).astype(np.uint8))
            return MaskPixels(image, values, mode, jpeg)
        image = image.convert("RGB")
        rgb = np.array(image)
        grey = bool((rgb[..., :1] == rgb).all())
        return MaskPixels(image, np.ascontiguousarray(rgb[..., 0]) if grey else None, mode, jpeg)


def packed(colours: NDArray[np.uint8]) -> NDArray[np.int32]:
    """(..., 3) colours packed into one number each."""
    red, green, blue = (colours[..., channel].astype(np.int32) for channel in range(3))
    return (red << 16) | (green << 8) | blue


def unpacked(numbers: NDArray[np.int32]) -> NDArray[np.uint8]:
    """The inverse of `packed`."""
    return np.stack([numbers >> 16, (numbers >> 8) & 255, numbers & 255], axis=-1).astype(np.uint8)


def binarised(colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Each channel as 0 or 255, with the threshold at 128."""
    return np.where(colours >= 128, 255, 0).astype(np.uint8)


def between(colours: NDArray[np.integer], tolerance: int = _PURE_TOLERANCE) -> NDArray[np.bool_]:
    """(...) bool: (..., 3) colours with a channel farther than that from 0 and 255, where binarising is a guess."""
    return np.asarray(((colours > tolerance) & (colours < 255 - tolerance)).any(-1))


def _integers(path: Path, values: NDArray[np.number]) -> NDArray[np.unsignedinteger]:
    is_integer = np.isfinite(values).all() and (values == np.round(values)).all() and (values >= 0).all()
    if not is_integer:
        raise UnreadableImageError(path, "a mask with fractions or negative numbers; expected whole class numbers")
    numbers: NDArray[np.uint32] = np.minimum(values, np.float64(_BEYOND)).astype(np.uint32)
    return numbers


def _by_value(path: Path, mask: MaskPixels, reading: MaskReading) -> NDArray[np.uint8]:
    if mask.values is None:
        raise UnreadableImageError(path, "a colour mask, but the class table has indices. Add colours to the table")
    if mask.jpeg:
        raise UnreadableImageError(path, "a JPEG mask, whose compression corrupts class numbers. Save masks as PNG")
    lookup = np.full(_BEYOND + 1, -1, dtype=np.int16)
    for value, label in reading.table.values:
        lookup[value] = label
    labels: NDArray[np.int16] = lookup[mask.values]
    stray = labels < 0
    if stray.any():
        if reading.unlisted == "error":
            raise UnreadableImageError(path, _stray_values(mask.values[stray], reading.table))
        labels[stray] = IGNORE
    return labels.astype(np.uint8)


def _stray_values(values: NDArray[np.unsignedinteger], table: ClassTable) -> str:
    unique, counts = np.unique(values, return_counts=True)
    listed = [f"{value} ({count:,} pixels)" for value, count in zip(unique, counts, strict=True)]
    return f"{'value' if len(listed) == 1 else 'values'} {_named(listed)} in no class. {_advice('index')}"


def _by_colour(path: Path, mask: MaskPixels, reading: MaskReading) -> NDArray[np.uint8]:
    table = reading.table
    if mask.values is not None and mask.values.max(initial=0) > 255:
        raise UnreadableImageError(path, "a 16-bit mask, but the class table has colours. Add indices to the table")
    colours, hidden = mask.colours, None
    if table.coding == "binarised":
        unclear = between(colours, _PURE_TOLERANCE if reading.tolerance is None else reading.tolerance)
        if unclear.mean() > _BLURRED:  # more than the borders of classes
            if reading.unlisted == "error":
                raise UnreadableImageError(path, _stray_colours(packed(colours[unclear]), unclear.size, mask.jpeg))
            hidden = unclear
        colours = binarised(colours)
    numbers = packed(colours)
    labels = np.full(numbers.shape, -1, dtype=np.int16)
    for colour, label in table.keys:
        red, green, blue = colour
        labels[numbers == (red << 16 | green << 8 | blue)] = label
    if hidden is not None:
        labels[hidden] = IGNORE
    stray = labels < 0
    if not stray.any():
        return labels.astype(np.uint8)
    tolerance = reading.tolerance if reading.tolerance is not None else _JPEG_TOLERANCE if mask.jpeg else 0
    if tolerance:
        labels[stray] = _nearest(numbers[stray], table, tolerance)
        stray = labels < 0
    if reading.unlisted == "error" and stray.mean() > (_BLURRED if mask.jpeg else 0):
        raise UnreadableImageError(path, _stray_colours(numbers[stray], stray.size, mask.jpeg))
    labels[stray] = IGNORE
    return labels.astype(np.uint8)


def _nearest(numbers: NDArray[np.int32], table: ClassTable, tolerance: int) -> NDArray[np.int16]:
    """(n,) the class of the nearest colour by the largest channel difference; -1 beyond `tolerance`."""
    unique, inverse = np.unique(numbers, return_inverse=True)
    keys = np.array([colour for colour, _ in table.keys], dtype=np.int16)
    labels = np.array([label for _, label in table.keys], dtype=np.int16)
    best = np.full(len(unique), 256, dtype=np.int16)
    labels_of_unique = np.full(len(unique), -1, dtype=np.int16)
    colours = unpacked(unique).astype(np.int16)
    for key, label in zip(keys, labels, strict=True):
        distance = np.abs(colours - key).max(1)
        nearer = distance < best
        best[nearer], labels_of_unique[nearer] = distance[nearer], label
    labels_of_unique[best > tolerance] = -1
    return labels_of_unique[inverse]


def _stray_colours(numbers: NDArray[np.int32], total: int, jpeg: bool) -> str:
    unique, counts = np.unique(numbers, return_counts=True)
    common = np.argsort(-counts, kind="stable")[:_MOST_NAMED]
    listed = [
        f"{rgb_text(tuple(map(int, colour)))} ({count:,} pixels)"  # type: ignore[arg-type]
        for colour, count in zip(unpacked(unique[common]), counts[common], strict=True)
    ]
    more = f" and {len(unique) - len(listed):,} more" if len(unique) > len(listed) else ""
    kind = "a JPEG mask, blurred by its compression: " if jpeg else ""
    share = len(numbers) / total
    return f"{kind}colours in no class in {share:.2%} of the pixels: {', '.join(listed)}{more}. {_advice('colour')}"


def _named(listed: Sequence[str]) -> str:
    more = f" and {len(listed) - _MOST_NAMED} more" if len(listed) > _MOST_NAMED else ""
    return ", ".join(listed[:_MOST_NAMED]) + more


def _advice(kind: str) -> str:
    tolerance = ", allow for noise with data.tolerance=N" if kind == "colour" else ""
    return f"Add them to the class table{tolerance}, or exclude such pixels from scoring with data.unlisted=ignore"
