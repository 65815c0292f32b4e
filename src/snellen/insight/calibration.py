"""Whether a confidence of 80% is right in 80% of cases."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.insight.bootstrap import Floats, interval, intervals
from snellen.insight.proportions import Interval, wilson

BINS = 15


@dataclass(frozen=True)
class Bin:
    """Images whose confidence lies in (low, high]. confidence, accuracy: their means; None for an empty bin."""

    low: float
    high: float
    images: int
    confidence: float | None
    accuracy: float | None
    accuracy_interval: Interval | None


@dataclass(frozen=True)
class Calibration:
    """ece: expected calibration error in [0, 1]. negative_log_likelihood: nats. brier: in [0, 2]."""

    bins: list[Bin]
    ece: float
    ece_interval: Interval
    brier: float
    negative_log_likelihood: float


def calibration(
    probabilities: NDArray[np.float32], target: NDArray[np.int64], groups: NDArray[np.int64] | None = None
) -> Calibration:
    """Reliability in 15 equal bins of the largest probability.

    probabilities: (N, C). target: (N,). groups: (N,); with them all intervals are bootstrapped over groups, else the
    bins' are Wilson's and the ECE's is a bootstrap over images. Resampling adds noise to every bin, so that of the ECE
    lies a little high. Sources: Guo et al. 2017, arXiv 1706.04599, eq. 3; Brier 1950.
    """
    images, classes = probabilities.shape
    confidence = probabilities.max(1).astype(np.float64)
    right = (probabilities.argmax(1) == target).astype(np.float64)
    place = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    member = np.eye(BINS)[place]  # (N, 15)
    gap = right - confidence

    def ece(weights: Floats) -> Floats:
        return np.asarray(np.abs((weights * gap) @ member).sum(1) / weights.sum(1))

    def accuracies(weights: Floats) -> Floats:
        with np.errstate(invalid="ignore"):
            return np.asarray(((weights * right) @ member) / (weights @ member))

    grouped = None if groups is None else intervals(accuracies, images, groups)
    bins = []
    for number in range(BINS):
        inside = place == number
        count, hits = int(inside.sum()), int(right[inside].sum())
        means: tuple[float | None, float | None, Interval | None] = (None, None, None)
        if count:
            own_range = wilson(hits, count) if grouped is None else grouped[number]
            means = float(confidence[inside].mean()), hits / count, own_range
        bins.append(Bin(number / BINS, (number + 1) / BINS, count, *means))
    own = probabilities[np.arange(images), target].astype(np.float64)
    return Calibration(
        bins=bins,
        ece=float(ece(np.ones((1, images)))[0]),
        ece_interval=interval(ece, images, groups),
        brier=float(((probabilities - np.eye(classes)[target]) ** 2).sum(1).mean()),
        negative_log_likelihood=float(-np.log(np.clip(own, 1e-12, 1)).mean()),
    )
