"""Intervals by resampling images, or groups of images."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from snellen.insight.proportions import Interval

REPEATS = 2000
_CHUNK = 100  # resamples at a time: bounded memory for many images

Floats = NDArray[np.float64]


def resamples(count: int, groups: NDArray[np.int64] | None, seed: int, repeats: int = REPEATS) -> Iterator[Floats]:
    """How often each image is drawn, (r, N) float64, for `repeats` resamples in chunks.

    groups: (N,) int64; whole groups are drawn then, with replacement. None: each image by itself.
    """
    generator = np.random.default_rng(seed)
    number = None
    units = count
    if groups is not None:
        names, number = np.unique(groups, return_inverse=True)
        units = len(names)
    for start in range(0, repeats, _CHUNK):
        size = min(_CHUNK, repeats - start)
        weights = generator.multinomial(units, np.full(units, 1 / units), size=size).astype(np.float64)
        yield weights if number is None else weights[:, number]


def intervals(
    statistic: Callable[[Floats], Floats], count: int, groups: NDArray[np.int64] | None = None, seed: int = 0
) -> list[Interval]:
    """95% percentile intervals of K statistics. statistic: weights of the images, (r, N), to its values, (r, K).

    Resamples in which a statistic is NaN are left out of its interval; where it always is, so are the bounds.
    """
    values = np.concatenate([statistic(weights) for weights in resamples(count, groups, seed)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # "all-NaN slice"
        low, high = np.nanquantile(values, [0.025, 0.975], axis=0)
    return [Interval(float(a), float(b)) for a, b in zip(low, high, strict=True)]


def two_sided(draws: Floats) -> float:
    """The two-sided p-value of no effect: twice the smaller share of resamples, (r,), on the other side of zero."""
    beyond = min((draws <= 0).sum(), (draws >= 0).sum())
    return min(1.0, 2 * (int(beyond) + 1) / (len(draws) + 1))
