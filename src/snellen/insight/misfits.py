"""Which masks of a set do not fit their images, judged by how the others do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

_BY_CHANCE = 0.95  # quantile of masks that lie on their images by chance
_NONE = 1e-6  # a height of no meaning, from rounding
_NEAR = 1.5  # moves that count as none, in rows and columns
_FOLLOWING = 0.5  # share of masks that must fit, for one to be called moved
_NEARLY_ALL = 0.8  # share that must fit, for one to be called unlike its image


class MaskFit(Protocol):
    """A mask over its image, see `data.masks.fit`."""

    @property
    def strength(self) -> NDArray[np.floating]:
        """(2 k + 1, 2 k + 1): of the image's edges under the mask, for each move of -k to k rows and columns."""

    @property
    def by_chance(self) -> float:
        """The largest entry, less the median one, of a mask that lies elsewhere by chance."""

    @property
    def step(self) -> int:
        """Pixels of the image per row or column of `strength`."""


@dataclass(frozen=True)
class Misfit:
    """row: of the mask. down, right: the move, in pixels of the image, that would fit better. excess: how much better,
    in units of what masks gain by chance: above 1."""

    row: int
    down: int
    right: int
    excess: float


@dataclass(frozen=True)
class Misfits:
    """What the fits of a set's masks say.

    moved: masks that fit elsewhere, the clearest first; none if less than half of the masks fit somewhere. unlike: rows
    of masks that fit their image nowhere; none if less than 80% fit, since the masks of such a set follow no edges.
    common: (down, right) in pixels, the median move of the masks that fit. judged: masks that were compared. fitting:
    those that fit somewhere.
    """

    moved: list[Misfit]
    unlike: list[int]
    common: tuple[int, int]
    judged: int
    fitting: int


def find_misfits(fits: Mapping[int, MaskFit]) -> Misfits:
    """Compares each mask's best place with its own and with what masks reach by chance. fits: of masks by their row.

    A height is the largest entry less the median one. A mask fits if its height is above the 95% quantile of the
    heights by chance. The common move is the median over masks that fit, since the masks of a whole set may lie a
    pixel aside. A mask that fits is moved if its best place exceeds those within 1.5 px of the common move by more than
    that quantile.
    """
    if not fits:
        return Misfits([], [], (0, 0), 0, 0)
    rows = list(fits)
    strength = np.stack([fit.strength for fit in fits.values()])
    reach = strength.shape[1] // 2
    best = strength.max((1, 2))
    height = best - np.median(strength, (1, 2))
    chance = float(np.quantile([fit.by_chance for fit in fits.values()], _BY_CHANCE))
    fitting = height > max(chance, _NONE)
    if not fitting.any():
        return Misfits([], [], (0, 0), len(rows), 0)
    moves = np.stack(np.unravel_index(strength.reshape(len(fits), -1).argmax(1), strength.shape[1:]), axis=1) - reach
    pixels = moves * np.array([fit.step for fit in fits.values()])[:, None]
    common = np.median(moves[fitting], axis=0)
    down, right = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    near = np.hypot(down - common[0], right - common[1]) < _NEAR
    excess = (best - strength[:, near].max(1)) / max(chance, _NONE)
    share = fitting.mean()
    moved = [
        Misfit(rows[at], *_pair(pixels[at]), float(excess[at]))
        for at in np.argsort(-excess, kind="stable")
        if share >= _FOLLOWING and fitting[at] and excess[at] > 1
    ]
    unlike = [rows[at] for at in np.flatnonzero(~fitting) if share >= _NEARLY_ALL]
    return Misfits(moved, unlike, _pair(np.median(pixels[fitting], axis=0)), len(rows), int(fitting.sum()))


def _pair(move: NDArray[np.floating] | NDArray[np.integer]) -> tuple[int, int]:
    return round(float(move[0])), round(float(move[1]))
