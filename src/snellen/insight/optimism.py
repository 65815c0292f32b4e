"""What choosing the best epoch on the scored images adds to the score."""

from __future__ import annotations

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


def optimism(correct_by_epoch: NDArray[np.bool_], seed: int = 0, repeats: int = 2000) -> Optimism:
    """The epoch is chosen on one random half of the images and scored on the other, many times.

    correct_by_epoch: (E, N). The choice is the first epoch with the highest accuracy, as in training. A half has more
    noise than the whole, so the figure errs on the careful side.
    """
    epochs, images = correct_by_epoch.shape
    if images < 2:
        return Optimism(0.0, epochs, images)
    generator = np.random.default_rng(seed)
    right = correct_by_epoch.astype(np.float32)
    half = images // 2
    gaps = []
    for _ in range(0, repeats, 100):
        order = generator.random((images, 100)).argsort(0)
        choosing = (order < half).astype(np.float32)  # (N, 100)
        chosen_scores = right @ choosing / half  # (E, 100)
        other_scores = right @ (1 - choosing) / (images - half)
        best = chosen_scores.argmax(0)
        column = np.arange(100)
        gaps.append(chosen_scores[best, column] - other_scores[best, column])
    return Optimism(float(np.concatenate(gaps).mean()), epochs, images)
