"""A cell of the table of coverage: how its data are drawn, what is measured on them, and its required bands."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

Generator = np.random.Generator
Measures = Mapping[str, float]

_CHUNK = 100  # draws of one generator, so that the figures do not depend on the number of processes


@dataclass(frozen=True)
class Band:
    """A band [low, high] for the mean of a measure over the draws."""

    low: float = -math.inf
    high: float = math.inf

    def holds(self, measured: Measured, errors: float = 2.0) -> bool:
        """Whether a mean lies in the band, widened by this many Monte Carlo errors."""
        slack = errors * measured.error
        return self.low - slack <= measured.mean <= self.high + slack


@dataclass(frozen=True)
class Cell:
    """One row of the table.

    draw: draws data from a truth that it knows, calls the public functions, and returns a number for each measure, such
    as {"covers": 1.0, "width": 0.031, "zero width": 0.0}: flags are 0 or 1, NaN if a measure does not apply (an
    interval that is not given). A function at the top of its module or a partial of one, so that processes can run it.
    bands: for some of the measures; the others are printed without one. short: draws in the tests' short form
    of the table; 0 for a cell that is not in it.
    """

    row: str
    name: str
    draw: Callable[[Generator], Measures]
    bands: Mapping[str, Band]
    short: int = 0


@dataclass(frozen=True)
class Measured:
    """Mean of a measure over the draws that have it, its Monte Carlo error, and how many draws these were."""

    mean: float
    error: float
    draws: int


def measure(cell: Cell, draws: int, executor: Executor | None = None) -> dict[str, Measured]:
    """Every measure of a cell over this many draws, the same at each call."""
    starts = range(0, draws, _CHUNK)
    sizes = [min(_CHUNK, draws - start) for start in starts]
    chunks = map if executor is None else executor.map
    rows = [row for chunk in chunks(_draw_block, [cell] * len(sizes), starts, sizes) for row in chunk]
    return {name: _summary(np.array([row[name] for row in rows])) for name in rows[0]}


def _draw_block(cell: Cell, start: int, size: int) -> list[Measures]:
    generator = np.random.default_rng([zlib.crc32(f"{cell.row}: {cell.name}".encode()), start])
    return [cell.draw(generator) for _ in range(size)]


def _summary(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Measured:
    present = values[~np.isnan(values)]
    if not len(present):
        return Measured(math.nan, math.nan, 0)
    # A share of 0 or 1 among few draws is not known exactly: one draw more of the other kind is the least error.
    spread = max(float(present.std()), 1 / math.sqrt(len(present)))
    return Measured(float(present.mean()), spread / math.sqrt(len(present)), len(present))
