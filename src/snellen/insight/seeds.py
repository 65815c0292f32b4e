"""Means over several seeds and the same images: how sure, and how much of the doubt is the seeds'."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.insight.moderation import NOTHING_KNOWN, Prior
from snellen.insight.proportions import Interval

_MOST_IMAGES, _MOST_SEEDS = 1_000_000, 100
_SHOWN = 1.96 / (1.96 + 0.84)  # half width over difference at which it is shown with a power of 0.8


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


def seed_variance(values: NDArray[np.float64]) -> float:
    """Variance of the seeds' means, with S - 1 degrees of freedom. values: (S, N), of at least two seeds."""
    return float(values.mean(1).var(ddof=1))


def over_seeds(values: NDArray[np.float64], expected: Prior = NOTHING_KNOWN) -> OverSeeds:
    """Mean of values by seed and image, where every seed was scored on the same images.

    values: (S, N), such as 1 for right and 0 for wrong, or the difference of two settings with the same seed.
    expected: what other settings' seeds say about the variance of the seeds' means; MS_seeds is moderated by it.
    Seeds and images are crossed random effects, with mean squares MS from the two-way table. The interval's half width
    is the root of t(S-1+d)^2 MS_seeds / (S N) + t(N-1)^2 max(0, MS_images - MS_rest) / (S N), where d are the degrees
    of freedom of `expected`, 0 without it: each part of the doubt has its own quantile, so that two or three seeds are
    not believed to have shown all that seeds can do. A bootstrap over so few is too sure: it knows only the seeds that
    there are. In simulated studies of 2, 3 and 5 seeds the interval without `expected` holds the truth in 95 to 98%.
    With one seed only the images' part of the doubt can be seen.
    Sources: Searle, Casella & McCulloch 1992, ch. 4; quantiles by part: Graybill & Wang 1980, JASA 75:869.
    Raises ValueError for fewer than two images.
    """
    found = _components(values, expected)
    parts, mean = found.parts(found.seeds, found.images), float(values.mean())
    half = _half_width(parts, 0.05)
    seed_share = found.seed_share
    interval = Interval(mean - half, mean + half)
    return OverSeeds(mean, interval, _p_value(abs(mean), parts), seed_share, found.seeds, found.images)


@dataclass(frozen=True)
class Needed:
    """What would show a difference as large as the one seen, four times in five.

    images: so many, with the seeds as they are; seeds: so many, with the images as they are. None: no number does.
    smallest: the true difference that this many seeds and images show four times in five.
    """

    images: int | None
    seeds: int | None
    smallest: float


def needed(values: NDArray[np.float64], expected: Prior = NOTHING_KNOWN) -> Needed:
    """How many more images or seeds a difference wants. values, expected: as `over_seeds` takes them.

    The interval's half width for other numbers of seeds and images, from the components seen here, must be 1.96 / (1.96
    + 0.84) of the difference: what is seen then varies by about half of that half width. Only for planning: components
    from few seeds are rough themselves. With one seed, the seeds' part is not known and `seeds` is None.
    """
    found = _components(values, expected)
    size = abs(float(values.mean()))

    def shown(seeds: int, images: int) -> bool:
        return _half_width(found.parts(seeds, images), 0.05) <= _SHOWN * size

    images = seeds = None
    if size:
        images = _first(lambda count: shown(found.seeds, count), found.images, _MOST_IMAGES)
    if size and found.seeds > 1:
        seeds = _first(lambda count: shown(count, found.images), found.seeds, _MOST_SEEDS)
    return Needed(images, seeds, _half_width(found.parts(found.seeds, found.images), 0.05) / _SHOWN)


@dataclass(frozen=True)
class _Components:
    """Mean squares of the two-way table; among_seeds and remaining are 0 for one seed, where they cannot be seen.

    expected_degrees: those of the prior that among_seeds was moderated by, over its own S - 1.
    """

    seeds: int
    images: int
    among_seeds: float
    among_images: float
    remaining: float
    expected_degrees: float

    def parts(self, seeds: int, images: int) -> list[tuple[float, float]]:
        """(variance of the mean, degrees of freedom) by source, for so many seeds and images."""
        if self.seeds == 1:
            return [(self.among_images / images, images - 1)]
        of_seeds = max(0.0, self.among_seeds - self.remaining) / self.images
        of_images = max(0.0, self.among_images - self.remaining) / self.seeds
        by_seed = of_seeds / seeds + self.remaining / (seeds * images)
        if (seeds, images) == (self.seeds, self.images):
            by_seed = self.among_seeds / (seeds * images)  # as seen, also where it is below what chance gives
        return [(by_seed, seeds - 1 + self.expected_degrees), (of_images / images, images - 1)]

    @property
    def seed_share(self) -> float:
        """The seeds' share of the variance."""
        if self.seeds == 1:
            return math.nan
        from_seeds, from_images = max(0.0, self.among_seeds - self.remaining), max(self.among_images, self.remaining)
        return from_seeds / (from_seeds + from_images) if from_images else 0.0


def _components(values: NDArray[np.float64], expected: Prior) -> _Components:
    seeds, images = values.shape
    if images < 2:
        raise ValueError("an interval needs at least two images")
    mean = float(values.mean())
    by_image, by_seed = values.mean(0), values.mean(1)
    among_images = seeds * float(((by_image - mean) ** 2).sum()) / (images - 1)
    if seeds == 1:
        return _Components(1, images, 0.0, among_images, 0.0, 0.0)
    among_seeds = images * expected.moderate(seed_variance(values), seeds - 1)
    rest = values - by_image - by_seed[:, None] + mean
    remaining = float((rest**2).sum()) / ((seeds - 1) * (images - 1))
    return _Components(seeds, images, among_seeds, among_images, remaining, expected.degrees)


def _first(enough: Callable[[int], bool], start: int, most: int) -> int | None:
    """The smallest number from `start` on that is enough; more is never worse. None where not even `most` is."""
    if not enough(most):
        return None
    low, high = start, most
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low


def _half_width(parts: list[tuple[float, float]], alpha: float) -> float:
    """parts: (variance, degrees of freedom) of each source of doubt."""
    from scipy.special import stdtrit

    return math.sqrt(sum(float(stdtrit(degrees, alpha / 2)) ** 2 * variance for variance, degrees in parts))


def _p_value(distance: float, parts: list[tuple[float, float]]) -> float:
    """The alpha at which the interval just reaches zero."""
    from scipy.optimize import brentq

    if distance == 0:
        return 1.0
    smallest = 1e-12
    if distance >= _half_width(parts, smallest):
        return smallest if any(variance for variance, _ in parts) else 0.0
    return float(brentq(lambda alpha: _half_width(parts, alpha) - distance, smallest, 1 - 1e-12))
