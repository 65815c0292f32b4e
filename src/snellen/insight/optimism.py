"""What choosing the best epoch on the scored images adds to the score."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Optimism:
    """value: how much higher, on average, the score is on the half that chose the epoch than on the other half.

    epochs: how many there were to choose from. images: in the whole.
    """

    value: float
    epochs: int
    images: int


def optimism(
    correct_by_epoch: NDArray[np.bool_], groups: NDArray[np.int64] | None = None, seed: int = 0, repeats: int = 2000
) -> Optimism:
    """The epoch is chosen on one random half of the images and scored on the other, many times.

    correct_by_epoch: (E, N). groups: (N,); halves are of whole groups then. The choice is the first epoch with the
    highest accuracy, as in training. A half has more noise than the whole, so the figure errs on the careful side.
    """
    epochs, images = correct_by_epoch.shape
    right = correct_by_epoch.astype(np.float64)
    gaps = []
    for halves in random_halves(images, groups, seed, repeats):
        chosen, other = ((right @ half.T) / half.sum(1) for half in (halves, 1 - halves))  # (E, r)
        best, column = chosen.argmax(0), np.arange(len(halves))
        gaps.append(chosen[best, column] - other[best, column])
    return Optimism(float(np.concatenate(gaps).mean()) if gaps else 0.0, epochs, images)


def random_halves(
    images: int, groups: NDArray[np.int64] | None, seed: int, repeats: int
) -> Iterator[NDArray[np.float64]]:
    """(r, N) float64 in chunks, 1 for the images of one half of the images, or of the groups; none for a single one."""
    number = np.arange(images) if groups is None else np.unique(groups, return_inverse=True)[1]
    units = int(number.max()) + 1 if images else 0
    generator = np.random.default_rng(seed)
    for start in range(0, repeats if units > 1 else 0, 100):
        order = generator.random((min(100, repeats - start), units)).argsort(1)
        yield (order < units // 2).astype(np.float64)[:, number]
