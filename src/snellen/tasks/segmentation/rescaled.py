"""Large images at another scale, part by part: pixels resized for one tile, scores resized back in bands of rows."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.data.augment.framing import filter_weights
from snellen.data.rasters import Raster
from snellen.tasks.segmentation.tiling import Block, Tile, stretched

_BAND_SCORES = 20_000_000  # approximate number of scores in a resized band of rows


def read_resized(raster: Raster, size: tuple[int, int], tile: Tile) -> NDArray[np.uint8]:
    """A tile of the raster brought to `size` (height, width), bilinear with antialiasing; (tile's size, 3).

    Reads only the part behind the tile. One value in 500 differs by a grey level from a resize of the whole image.
    """
    top, rows, down = _axis(tile.top, tile.height, raster.height, size[0])
    left, columns, across = _axis(tile.left, tile.width, raster.width, size[1])
    pixels = torch.from_numpy(raster.read(top, left, rows, columns)).permute(2, 0, 1).float()
    narrow = (pixels @ across.T).round_().clamp_(0, 255)
    return np.asarray((down @ narrow).round_().clamp_(0, 255).byte().permute(1, 2, 0).contiguous())


def _axis(start: int, count: int, length: int, scaled: int) -> tuple[int, int, Tensor]:
    """The first source line, how many, and their (count, lines) weights in the resized lines from `start` on."""
    step = length / scaled
    reach = max(step, 1.0)
    first = max(0, math.floor((start + 0.5) * step - reach))
    lines = min(length, math.ceil((start + count - 0.5) * step + reach)) - first
    positions = torch.arange(start, start + count)[None]
    begin, whole, resized = (torch.tensor([value]) for value in (-first, length, scaled))
    inside = torch.ones_like(positions, dtype=torch.bool)
    return first, lines, filter_weights(positions, inside, begin, whole, resized, lines, "bilinear")[0]


class Stretcher:
    """Resizes blocks of scores, one row of tiles at a time, to bands of all columns at another size.

    small, large: height and width of all blocks together, and of the result: bilinear, as torch's interpolate of the
    whole. Holds one row of tiles.
    """

    def __init__(self, small: tuple[int, int], large: tuple[int, int]) -> None:
        self._small, self._large = small, large
        self._row: list[Tensor] = []
        self._before: Tensor | None = None  # last lines of the row of tiles above
        self._next = 0

    def add(self, block: Block) -> Iterator[Block]:
        """Takes the next block; yields the bands that it completes, from top to bottom."""
        self._row.append(block.scores)
        if block.left + block.scores.shape[2] < self._small[1]:
            return
        band = torch.cat(self._row, dim=2)
        bottom = block.top + band.shape[1]
        lines = band if self._before is None else torch.cat([self._before, band], dim=1)
        self._row, self._before = [], lines[:, -2:].clone()
        (height, width), first = self._large, bottom - lines.shape[1]
        end = height
        if bottom < self._small[0]:  # up to the last row between two lines that are available
            end = max(self._next, math.ceil((bottom - 0.5) * height / self._small[0] - 0.5))
        step = max(1, _BAND_SCORES // (len(lines) * width))
        for top in range(self._next, end, step):
            rows = min(step, end - top)
            yield Block(top, 0, stretched(lines, height, width, top, rows, first, self._small[0]))
        self._next = end
