"""Masks as small pictures for the report, as data URLs; true masks read from their files."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from snellen.data.decode import UnreadableImageError
from snellen.data.masks.classes import IGNORE, ClassTable, Rgb
from snellen.data.masks.decode import decode_mask
from snellen.data.masks.overlay import tinted
from snellen.data.masks.resize import resize_mask
from snellen.reporting.pictures import jpeg, photograph
from snellen.run.directory import RunDirectory
from snellen.tasks.segmentation.record import recipe_of

Mask = NDArray[np.uint8]
_QUALITY = 80  # of JPEGs
WRONG = (220, 38, 127)  # of the error map, over a grey image: stands out for people with any colour vision


class TrueMasks:
    """The true masks of a run's images, as they were read for training; None for files that are gone or changed."""

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        samples = run.samples()
        self._masks = dict(zip(samples["path"], samples["mask"], strict=True))
        self._reading = recipe_of(run).data.reading(ClassTable.recorded(run.data))
        self.of = lru_cache(maxsize=64)(self._of)

    def _of(self, path: str) -> Mask | None:
        """(h, w) uint8 class numbers with 255 where nothing is scored. path: of the image, as in samples.csv."""
        try:
            return np.asarray(decode_mask(self._run.image(self._masks[path]), self._reading))
        except UnreadableImageError:
            return None


def reduced(mask: Mask, longest: int) -> Mask:
    """At most `longest` px at its longer side, each pixel the class at its centre."""
    factor = max(mask.shape) / longest
    if factor <= 1:
        return mask
    height, width = (max(1, round(side / factor)) for side in mask.shape)
    return resize_mask(torch.from_numpy(mask), (height, width)).numpy()


def mask_picture(mask: Mask, colours: Sequence[Sequence[int]]) -> str:
    """A palette PNG; pixels of 255 are transparent."""
    return _png(np.where(mask == IGNORE, len(colours), mask).astype(np.uint8), [*colours, (0, 0, 0)], len(colours))


def error_picture(prediction: Mask, truth: Mask) -> str:
    """Where the two differ and the truth is scored, in the colour of mistakes; transparent elsewhere."""
    wrong = (prediction != truth) & (truth != IGNORE)
    return _png(wrong.astype(np.uint8), [(0, 0, 0), WRONG], 0)


def scene(path: Path, size: tuple[int, int], bits: int | None) -> str | None:
    """The image as a JPEG of (height, width); None when the file is gone or unreadable. bits: as in `decode`."""
    image = photograph(path, min(size), bits)
    return None if image is None else jpeg(image.resize(size[::-1], Image.Resampling.BILINEAR), _QUALITY)


def overlaid(path: Path, mask: Mask, colours: Sequence[Rgb], longest: int, bits: int | None) -> str | None:
    """An image under its mask's colours, half and half, as one small JPEG; None when the image is gone.

    bits: as in `decode`.
    """
    small = reduced(mask, longest)
    image = photograph(path, longest, bits)
    if image is None:
        return None
    return jpeg(Image.fromarray(tinted(np.asarray(image.resize(small.shape[::-1])), small, colours)), _QUALITY)


def _png(values: Mask, palette: Sequence[Sequence[int]], transparent: int) -> str:
    image = Image.fromarray(np.ascontiguousarray(values))
    image.putpalette([channel for colour in palette for channel in colour])
    data = io.BytesIO()
    image.save(data, "PNG", optimize=True, transparency=transparent)
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()
