"""Random numbers for the images of a batch; a process that makes only some of them draws the same for these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor


@dataclass(frozen=True)
class PartOfBatch:
    """The generator of a whole batch of `count` images, of which only those in `rows`, (B,) int64, are made here."""

    generator: Generator
    count: int
    rows: Tensor


Draws = Generator | PartOfBatch


def uniform(
    draws: Draws, count: int, *each: int, leading: Sequence[int] = (), dtype: torch.dtype = torch.float32
) -> Tensor:
    """(*leading, count, *each) numbers, uniform in [0, 1), for `count` images: those of the batch or part."""
    if isinstance(draws, Generator):
        return torch.rand(*leading, count, *each, generator=draws, dtype=dtype)
    numbers = torch.rand(*leading, draws.count, *each, generator=draws.generator, dtype=dtype)
    return numbers.index_select(len(leading), draws.rows)


def one_by_one(draws: Draws, count: int) -> list[Generator]:
    """A generator for each of `count` images, of the batch or of the part."""
    seeds = (uniform(draws, count, dtype=torch.float64) * 2**53).long().tolist()
    return [torch.Generator().manual_seed(seed) for seed in seeds]
