"""Large images as overlapping tiles, and the tiles' scores blended without seams: no files, no networks."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.data.masks.feed import LARGE

TILE, OVERLAP = LARGE, 128  # px, the defaults
ALIGN = 32  # px, of tiles: no network here halves its input more than five times
_FAINT = 1e-6  # weight of a tile's outermost pixels, where the neighbouring tile is better


@dataclass(frozen=True)
class Axis:
    """Tiles along one side of an image.

    length: of the image, px. size: of each tile; with one tile it is at least `length`, and the last of several tiles
    may end beyond the image: what lies there is padding. starts: first pixel of each tile, ascending, from 0.
    overlap: px that neighbours share at least.
    """

    length: int
    size: int
    starts: tuple[int, ...]
    overlap: int

    @cached_property
    def weights(self) -> list[NDArray[np.float64]]:
        """(size,) weights of each tile's pixels, all above zero; at every pixel of the image they sum to 1.

        From a tile's edge inwards: a quarter of the overlap with almost no weight, since the network saw padding there
        instead of the surroundings; then a smooth rise over half of the overlap; then full weight. A network that looks
        no farther than a quarter of the overlap therefore gives the result of the whole image.
        """
        centre = np.arange(self.size) + 0.5
        depth = np.minimum(centre, self.size - centre)
        rise = np.clip((depth - self.overlap / 4) / max(self.overlap / 2, 1e-9), 0, 1)
        window = _FAINT + (1 - _FAINT) * rise**2 * (3 - 2 * rise)
        total = np.zeros(self.starts[-1] + self.size)
        for start in self.starts:
            total[start : start + self.size] += window
        return [window / total[start : start + self.size] for start in self.starts]


@dataclass(frozen=True)
class Tile:
    """The position of a tile in its image. height, width: of the part inside the image, px."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class TilePlan:
    """Tiles of one image in rows, from left to right: all of one size, (rows.size, columns.size)."""

    rows: Axis
    columns: Axis

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of every tile, padding included."""
        return self.rows.size, self.columns.size

    @cached_property
    def tiles(self) -> list[Tile]:
        """All tiles, in the order in which a Blender takes them."""
        height, width = self.rows.length, self.columns.length
        return [
            Tile(top, left, min(self.rows.size, height - top), min(self.columns.size, width - left))
            for top in self.rows.starts
            for left in self.columns.starts
        ]


def plan_tiles(height: int, width: int, tile: int, overlap: int, align: int = 32) -> TilePlan:
    """Tiles of at most tile x tile px for an image of any size, evenly spread, as small as their number allows.

    overlap: px that neighbours share at least. align: tiles start and end at multiples of it, so that the grid of a
    network that halves its input is that of the whole image everywhere; tile is rounded down to such a multiple,
    and overlap up. Raises ValueError if a side is empty or if more than half of a tile would be overlap.
    """
    largest, overlap = tile // align * align, math.ceil(overlap / align) * align
    if min(height, width) < 1 or largest < align or not 0 <= overlap <= largest // 2:
        raise ValueError(f"no tiles of {tile} px with an overlap of {overlap} for {height} x {width} px")
    return TilePlan(_axis(height, largest, overlap, align), _axis(width, largest, overlap, align))


def _axis(length: int, largest: int, overlap: int, align: int) -> Axis:
    units = math.ceil(length / align)
    if units * align <= largest:
        return Axis(length, units * align, (0,), overlap)
    count = math.ceil((units * align - overlap) / (largest - overlap))
    size = math.ceil((units * align + (count - 1) * overlap) / count / align)  # in units; at most `largest`
    room = units - size
    return Axis(length, size * align, tuple(i * room // (count - 1) * align for i in range(count)), overlap)


@dataclass(frozen=True)
class Block:
    """A finished part of an image. scores: (C, h, w) float32, blended. top, left: its position."""

    top: int
    left: int
    scores: Tensor


@dataclass
class Blender:
    """Adds up weighted tiles; holds only the parts that later tiles still add to.

    That is the right margin of the last tile, and the lower margins of the row above: for C classes and an image of
    width w, C x (tile height - step) x w floats, whatever the image's height. Where tiles end beyond the image, the
    padding's scores are dropped.
    """

    plan: TilePlan
    classes: int
    device: torch.device
    _below: Tensor = field(init=False)  # (C, rows still open, w) sums of the rows of tiles so far
    _right: Tensor = field(init=False)  # (C, tile height, columns still open) sums of this row of tiles
    _next: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        rows, columns = self.plan.rows, self.plan.columns
        steps = [after - before for before, after in pairwise(rows.starts)]
        open_rows = rows.size - min(steps) if steps else 0
        self._below = torch.zeros(self.classes, open_rows, columns.length, device=self.device)
        self._right = torch.zeros(self.classes, rows.size, 0, device=self.device)
        self._row_weights = self._on_device(rows)
        self._column_weights = self._on_device(columns)

    def add(self, scores: Tensor) -> Block:
        """Takes the scores of the next tile of the plan, (C, size) on the device; returns the part that it completes.

        The blocks of all tiles cover the image, each pixel once.
        """
        rows, columns = self.plan.rows, self.plan.columns
        row, column = divmod(self._next, len(columns.starts))
        self._next += 1
        tile = self.plan.tiles[row * len(columns.starts) + column]
        total = scores.float() * (self._row_weights[row][:, None] * self._column_weights[column])
        total[:, :, : self._right.shape[2]] += self._right
        last_row, last_column = row == len(rows.starts) - 1, column == len(columns.starts) - 1
        width = tile.width if last_column else columns.starts[column + 1] - tile.left
        self._right = total[:, :, :0] if last_column else total[:, :, width:].clone()
        finished = total[:, : tile.height, :width]
        span = slice(tile.left, tile.left + width)
        if row:
            above = rows.starts[row - 1] + rows.size - tile.top  # rows that the tiles above reach into
            finished[:, :above] += self._below[:, :above, span][:, : finished.shape[1]]
        height = tile.height if last_row else rows.starts[row + 1] - tile.top
        if not last_row:
            self._below[:, : rows.size - height, span] = total[:, height:, :width]
        return Block(tile.top, tile.left, finished[:, :height])

    def _on_device(self, axis: Axis) -> list[Tensor]:
        return [torch.from_numpy(weights).float().to(self.device) for weights in axis.weights]


def stretched(
    scores: Tensor, height: int, width: int, top: int, rows: int, first: int = 0, total: int | None = None
) -> Tensor:
    """Rows [top, top + rows) of (C, total, w) scores resized to (C, height, width), bilinear; (C, rows, width).

    scores: (C, h, w), the lines from `first` on, including all that the rows lie between; total: None if these are all
    lines. The same as a part of torch's interpolate with align_corners=False.
    """
    lines = total or scores.shape[1]
    positions = (torch.arange(top, top + rows, device=scores.device) + 0.5) * (lines / height) - 0.5
    positions = positions.clamp(0, lines - 1)
    above = positions.long()
    weights = (positions - above)[:, None]
    above, below = ((line - first).clamp(0, scores.shape[1] - 1) for line in (above, (above + 1).clamp(max=lines - 1)))
    part = torch.lerp(scores[:, above], scores[:, below], weights)
    return torch.nn.functional.interpolate(part[None], size=(rows, width), mode="bilinear")[0]
