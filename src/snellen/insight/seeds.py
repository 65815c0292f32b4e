"""Means over several seeds and the same images: their uncertainty, and how much of it is due to seeds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.insight.decision import LEVEL
from snellen.insight.groups import FEWEST
from snellen.insight.moderation import NOTHING_KNOWN, Prior
from snellen.insight.proportions import Interval

_FEW = 10.0  # errors, right answers or disagreements below which their variance is not to be believed


@dataclass(frozen=True)
class OverSeeds:
    """mean: over all seeds and images. interval: 95%, for other seeds and other images. p_value: of a mean of zero.

    Both are None for fewer than three images, or groups of images. seed_share: estimated share of the mean's variance
    that comes from the seeds, in [0, 1]; NaN for one seed, whose variance is unknown. seeds: of the side that has
    fewer. images: or groups of them.
    """

    mean: float
    interval: Interval | None
    p_value: float | None
    seed_share: float
    seeds: int
    images: int


@dataclass(frozen=True)
class Side:
    """Seeds of one setting, or of the difference of two that are paired by seed.

    variance: of a seed's mean, moderated; 0 for one seed, where it is unknown. remaining: variance of a value
    beyond its seed and its image. borrowed: degrees of freedom of `variance` that come from other settings.
    """

    seeds: int
    variance: float
    remaining: float
    borrowed: float


@dataclass(frozen=True)
class Uncertainty:
    """The uncertainty of a mean by source. sides: one, or two if the seeds are not paired.

    of_images: variance component of images, at least 0, with that many degrees of freedom. least: lower bound of the
    variance of the mean that is due to images.
    """

    mean: float
    sides: tuple[Side, ...]
    images: int
    of_images: float
    degrees: float
    least: float

    def parts(self, seeds: int = 0, images: int = 0) -> list[tuple[float, float]]:
        """(variance of the mean, degrees of freedom) by source, with at least this many seeds and images."""
        more = max(images, self.images)
        parts = []
        for side in self.sides:
            number = max(seeds, side.seeds)
            if side.seeds == 1:
                continue
            of_seed = max(0.0, side.variance - side.remaining / self.images) + side.remaining / more
            if more == self.images:
                of_seed = side.variance  # as seen, also where it is below what chance gives
            parts.append((of_seed / number, number - 1 + side.borrowed))
        of_images = max(self.of_images / more, self.least * self.images / more)
        return [*parts, (of_images, self.degrees * more / self.images)]

    @property
    def seeds(self) -> int:
        """Of the side with fewer."""
        return min(side.seeds for side in self.sides)

    @property
    def seed_share(self) -> float:
        """The seeds' share of the variance of the mean, without the part that no image explains; NaN for one seed."""
        if self.seeds == 1:
            return math.nan
        from_seeds = sum(max(0.0, s.variance - s.remaining / self.images) / s.seeds for s in self.sides)
        remaining = sum(side.remaining / side.seeds for side in self.sides)
        from_images = (self.of_images + remaining) / self.images
        return from_seeds / (from_seeds + from_images) if from_images else float(from_seeds > 0)

    def half_width(self, alpha: float = LEVEL, seeds: int = 0, images: int = 0) -> float:
        """Half the width of the interval with confidence 1 - alpha, with at least this many seeds and images."""
        from scipy.special import stdtrit

        parts = self.parts(seeds, images)
        squared = sum(float(stdtrit(degrees, alpha / 2)) ** 2 * variance for variance, degrees in parts)
        # Seeds that agree by chance: never narrower than for these seeds on other images.
        variance = parts[-1][0] + sum(side.remaining / max(seeds, side.seeds) for side in self.sides) / max(
            images, self.images
        )
        return math.sqrt(max(squared, float(stdtrit(parts[-1][1], alpha / 2)) ** 2 * variance))

    @property
    def over(self) -> OverSeeds:
        """The mean with its interval and its p-value."""
        if self.images < FEWEST:
            return OverSeeds(self.mean, None, None, self.seed_share, self.seeds, self.images)
        half = self.half_width()
        interval = Interval(self.mean - half, self.mean + half)
        return OverSeeds(self.mean, interval, self._p_value(), self.seed_share, self.seeds, self.images)

    def _p_value(self) -> float:
        """The alpha at which the interval just touches zero."""
        from scipy.optimize import brentq

        distance, smallest = abs(self.mean), 1e-12
        if distance <= self.half_width(1 - smallest):
            return 1.0
        if distance >= self.half_width(smallest):
            return smallest if any(variance for variance, _ in self.parts()) else 0.0
        return float(brentq(lambda alpha: self.half_width(alpha) - distance, smallest, 1 - 1e-12))


def seed_variance(values: NDArray[np.float64]) -> float:
    """Variance of the seeds' means, with S - 1 degrees of freedom. values: (S, N), of at least two seeds."""
    return float(values.mean(1).var(ddof=1))


def uncertainty(
    values: NDArray[np.float64], expected: Prior = NOTHING_KNOWN, least: float = 0.0, degrees: float | None = None
) -> Uncertainty:
    """The uncertainty of a mean over seeds and images by source, every seed scored on the same images.

    Seeds and images are crossed random effects, with mean squares MS from the two-way table. The interval's half width
    is the root of t(S-1+d)^2 MS_seeds / (S N) + t(N-1)^2 max(0, MS_images - MS_rest) / (S N), where d is the degrees
    of freedom of `expected`, 0 without it: each source of uncertainty has its own quantile, so that two or three seeds
    are not assumed to show the full spread. A bootstrap over so few is overconfident: it knows only the seeds that were
    run. With one seed only the images' part of the uncertainty is known.
    Sources: Searle, Casella & McCulloch 1992, ch. 4; quantiles by part: Graybill & Wang 1980, JASA 75:869.

    values: (S, N), such as 1 for right and 0 for wrong, or the difference of two settings with the same seed.
    expected: the variance of the seeds' means that other settings' seeds suggest; moderates the observed one.
    least: see `least_of_one` and `least_of_pair`. degrees: of freedom of the images; None: N - 1.
    """
    images = values.shape[1]
    side = _side(values, expected)
    among_images = _variance(values.mean(0))
    of_images = max(0.0, among_images - side.remaining / side.seeds)
    return Uncertainty(float(values.mean()), (side,), images, of_images, degrees or images - 1, least)


def uncertainty_unpaired(
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    expected: tuple[Prior, Prior] = (NOTHING_KNOWN, NOTHING_KNOWN),
    least: float = 0.0,
    degrees: float | None = None,
) -> Uncertainty:
    """For the mean of A minus that of B, with unpaired seeds: different numbers of them, or kinds of settings.

    a: (S, N), b: (T, N). The variances of the two means add, each with its own degrees of freedom: what the seeds of
    both have in common then counts as uncertainty, which errs on the side of caution.
    """
    images = a.shape[1]
    sides = (_side(a, expected[0]), _side(b, expected[1]))
    difference = a.mean(0) - b.mean(0)
    of_images = _variance(difference) - sum(side.remaining / side.seeds for side in sides)
    return Uncertainty(float(difference.mean()), sides, images, max(0.0, of_images), degrees or images - 1, least)


def least_of_one(correct: NDArray[np.bool_]) -> float:
    """Lower bound of the variance of a setting's accuracy due to images: 0 from ten errors and ten right answers on.

    correct: (S, N). With none, one image that all seeds get right and one that all get wrong are added; the more
    errors, the smaller this part, so that nothing jumps at the tenth. After Agresti & Caffo 2000, Am Stat 54:280;
    the number that suffices with Student's t was found by simulation.
    """
    right, images = float(correct.mean(0).sum()), correct.shape[1]
    added = 1 - min(right, images - right) / _FEW
    if added <= 0:
        return 0.0
    remaining = _remaining(correct.astype(np.float64)) / len(correct)
    return _with_pseudo(correct.mean(0), remaining, ((1.0, added), (0.0, added)))


def least_of_pair(a: NDArray[np.bool_], b: NDArray[np.bool_], paired: bool = True) -> float:
    """The same for the difference of two settings: 0 with at least ten images that only one of the two gets right.

    a: (S, N), b: (T, N), the same seeds if they are paired. With none, a quarter of an image is added to each cell
    of the table of right and wrong. After Agresti & Min 2005, Stat Med 24:729.
    """
    means = a.mean(0) - b.mean(0)
    if paired:
        values = a.astype(np.float64) - b
        disagreements, remaining = float((a != b).mean(0).sum()), _remaining(values) / len(a)
    else:
        of_a, of_b = a.mean(0), b.mean(0)
        disagreements = float((of_a * (1 - of_b) + of_b * (1 - of_a)).sum())
        remaining = _remaining(a.astype(np.float64)) / len(a) + _remaining(b.astype(np.float64)) / len(b)
    added = 0.25 * (1 - disagreements / _FEW)
    return 0.0 if added <= 0 else _with_pseudo(means, remaining, ((1.0, added), (-1.0, added), (0.0, 2 * added)))


def _variance(values: NDArray[np.float64]) -> float:
    """Variance of (N,) values, divided by N - 1; 0 for a single one, which has no interval either."""
    return float(values.var(ddof=1)) if len(values) > 1 else 0.0


def _side(values: NDArray[np.float64], expected: Prior) -> Side:
    seeds = len(values)
    if seeds == 1:
        return Side(1, 0.0, 0.0, 0.0)
    variance = expected.moderate(seed_variance(values), seeds - 1)
    return Side(seeds, variance, _remaining(values), expected.degrees)


def _remaining(values: NDArray[np.float64]) -> float:
    """Mean square of what neither the seed nor the image explains; 0 for one seed, where it is unknown."""
    seeds, images = values.shape
    if min(seeds, images) == 1:
        return 0.0
    rest: NDArray[np.float64] = values - values.mean(0) - values.mean(1)[:, None] + values.mean()
    return float((rest**2).sum() / ((seeds - 1) * (images - 1)))


def _with_pseudo(means: NDArray[np.float64], remaining: float, added: tuple[tuple[float, float], ...]) -> float:
    """Variance of a mean over images with (value, number of images) added. remaining: variance of a mean of seeds."""
    total = len(means) + sum(number for _, number in added)
    mean = (float(means.sum()) + sum(value * number for value, number in added)) / total
    squares = float(((means - mean) ** 2).sum()) + sum(number * (value - mean) ** 2 for value, number in added)
    return float(max(0.0, squares / (total - 1) - remaining) / total)
