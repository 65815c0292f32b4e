"""Intervals for images that come in groups: the variance is that between the groups.

Everything here is a ratio of two sums over images, or a mean of such ratios. Linearised, a ratio's error is
the sum over the groups of (numerator - ratio * denominator) / total denominator; these sums are independent between
groups, whatever the dependence within a group.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from snellen.insight.proportions import NORMAL, Interval, score_interval, wilson
from snellen.words import counted

Floats = NDArray[np.float64]

FEWEST = 3  # groups: two have one degree of freedom, a quantile of 12.7 and an interval that says nothing
# Prior for the ratio of the variance to that of images by themselves: a correlation within groups of 0.1, which counts
# as much as this share of one error. By simulation; without it groups that are all right have no width.
_CORRELATION, _WEIGHT = 0.1, 0.1
_MOST_KURTOSIS = 0.5  # of the mean over the groups; what it would be from one error is a guess
_LEAST_RATIO = 0.7  # to that variance: sums of groups that are equal by chance are no evidence of more


def group_numbers(names: Iterable[str | None]) -> NDArray[np.int64] | None:
    """(N,) a number for the group of each image; an image without one is a group by itself. None if none has one."""
    keys = [name or None for name in names]
    if not any(keys):
        return None
    units = [f"group {key}" if key else f"image {row}" for row, key in enumerate(keys)]
    return np.unique(units, return_inverse=True)[1].astype(np.int64)


def why_no_interval(groups: NDArray[np.int64] | None) -> str | None:
    """Why images in these groups, (N,), have no interval and no test; None if they have both."""
    count = FEWEST if groups is None else len(np.unique(groups))
    return None if count >= FEWEST else only(count, "group")


def only(count: int, noun: str) -> str:
    """Why there is no interval: "only 2 groups"."""
    return f"only {counted(count, noun)}"


def sums_by_unit(values: NDArray[np.generic], groups: NDArray[np.int64] | None = None) -> Floats:
    """(G, …) float64 sums over the images of each group, in the order of the groups' numbers; (N, …) without groups.

    values: (N, …) numbers of each image. groups: (N,) int64.
    """
    if groups is None:
        return values.astype(np.float64)
    order = np.argsort(groups, kind="stable")
    _, starts = np.unique(groups[order], return_index=True)
    return np.asarray(np.add.reduceat(values[order], starts, axis=0, dtype=np.float64))


def class_sums(
    prediction: NDArray[np.int64], target: NDArray[np.int64], classes: int, groups: NDArray[np.int64]
) -> tuple[Floats, Floats, Floats]:
    """(G, C) images of each group: correct ones of each class, all of each class, and those predicted as it.

    chosen, target: (N,) int64 in [0, classes). groups: (N,) int64.
    """
    names, index = np.unique(groups, return_inverse=True)
    shape = len(names), classes

    def table(labels: NDArray[np.int64], weights: NDArray[np.bool_] | None = None) -> Floats:
        counts = np.bincount(index * classes + labels, weights, shape[0] * classes)
        return counts.reshape(shape).astype(np.float64)

    return table(target, prediction == target), table(target), table(prediction)


def variance_between(numerator: Floats, denominator: Floats) -> tuple[float, float]:
    """Variance of the mean of K ratios of sums over groups, and its degrees of freedom.

    numerator, denominator: (G, K), of at least two groups; denominators are at least 0, and their sums over the groups
    above 0. Each group's residual is divided by the root of 1 - its share of the denominator (CR2: unbiased if
    images are independent); degrees by Satterthwaite under the same model. A ratio whose denominator is in one group
    has no residual: its variance is set to m (1 - m), that of one observation, with m the mean of the ratios.
    Sources: Bell & McCaffrey 2002, Survey Methodology 28:169; Pustejovsky & Tipton 2018, J Bus Econ Stat 36:672.
    """
    count, ratios = numerator.shape
    total = denominator.sum(0)
    share = denominator / total
    several = share.max(0) < 1
    ratio = numerator.sum(0) / total
    adjusted = np.where(several, 1 / np.sqrt(np.where(several, 1 - share, 1)), 0.0)
    residual = (adjusted * (numerator - ratio * denominator) / total).sum(1) / ratios  # (G,)
    mean = float(ratio.mean())
    of_one_group = max(0.0, mean * (1 - mean)) * int((~several).sum()) / ratios**2
    # The matrix of expected products of residuals is diag(by_group) - loadings @ loadings.T under the working model.
    by_group = (adjusted**2 * share / total).sum(1) / ratios**2
    loadings = adjusted * share / np.sqrt(total) / ratios
    trace = float(by_group.sum() - (loadings**2).sum())
    squares = float(
        (by_group**2).sum() - 2 * (by_group * (loadings**2).sum(1)).sum() + ((loadings.T @ loadings) ** 2).sum()
    )
    degrees = trace**2 / squares if squares > 0 else float(count - 1)
    return float((residual**2).sum()) + of_one_group, max(1.0, degrees)


def mean_of_ratios(numerator: Floats, denominator: Floats, images: float, sizes: Floats) -> Interval | None:
    """95% interval of a mean of K ratios in [0, 1]; None for fewer than three groups.

    numerator, denominator: (G, K) as in `variance_between`, of groups whose denominators are not all 0. images:
    number of independent images, all equally likely to be wrong, that would give the mean the same certainty.
    sizes: (G,) images of each group. Wilson's interval for the number of images that this variance is worth, with
    Student's quantile: it stays in [0, 1] and is as skewed as that of a share. If few images are wrong or right, the
    variance of groups is unreliable: it is moderated by a correlation of 0.1, and the kurtosis of a share reduces
    the degrees. Never narrower than an interval of ungrouped images with 0.7 of their variance.
    Sources: Dean & Pauly 2015, Sociol Methods Res 44:484 (effective number); the rest: docs/statistics.md.
    """
    if len(numerator) < FEWEST:
        return None
    variance, degrees = variance_between(numerator, denominator)
    mean = float((numerator.sum(0) / denominator.sum(0)).mean())
    ratio = _prior_ratio(sizes)
    prior = _WEIGHT * ratio / images
    spread = mean * (1 - mean) + prior
    effective = spread / (variance + prior * ratio / images)
    quantile = student(_degrees_by_kurtosis(degrees, (1 / spread - 6) / effective))
    return _hull(score_interval(mean, effective, quantile), score_interval(mean, images / _LEAST_RATIO))


def shares(numerator: Floats, denominator: Floats) -> list[Interval | None]:
    """95% interval of each single ratio; None if fewer than three groups have images for it.

    numerator, denominator: (G, K) counts of images, such as the right ones of each class and all of them.
    """
    intervals: list[Interval | None] = []
    for column in range(numerator.shape[1]):
        has_images = denominator[:, column] > 0
        counts, sizes = numerator[has_images, column], denominator[has_images, column]
        intervals.append(mean_of_ratios(counts[:, None], sizes[:, None], float(sizes.sum()), sizes))
    return intervals


def share(flags: NDArray[np.bool_], groups: NDArray[np.int64] | None) -> Interval | None:
    """95% interval of the share of images that are True; Wilson's for images by themselves. flags, groups: (N,)."""
    if groups is None:
        return wilson(int(flags.sum()), len(flags))
    return shares(*np.split(sums_by_unit(np.column_stack([flags, np.ones(len(flags))]), groups), 2, axis=1))[0]


def mean_difference(difference: Floats, groups: NDArray[np.int64]) -> tuple[Interval, float] | None:
    """95% interval of a mean of values in -1, 0, 1, and the two-sided p-value of a mean of 0, from the same t.

    difference: (N,), right in one run minus right in the other. None for fewer than three groups.
    """
    from scipy.special import stdtr

    if why_no_interval(groups):
        return None
    images, discordant = len(difference), float(np.abs(difference).sum())
    table = sums_by_unit(np.column_stack([difference, np.ones(images)]), groups)
    variance, degrees = variance_between(table[:, :1], table[:, 1:])
    mean = float(difference.mean())
    ratio = _prior_ratio(table[:, 1])
    prior = _WEIGHT * ratio / images
    variance += prior * ratio / images
    spread = discordant / images - mean**2 + prior
    degrees = _degrees_by_kurtosis(degrees, (1 / spread - 3) * variance / spread)
    # Images by themselves, with two pseudo-images on which only one run is right (Agresti & Min 2005).
    independent = _LEAST_RATIO * ((discordant + 2) / (images + 2) - (mean * images / (images + 2)) ** 2) / (images + 2)
    half = max(student(degrees) * math.sqrt(variance), NORMAL * math.sqrt(independent))
    p_value = max(
        2 * float(stdtr(degrees, -abs(mean) / math.sqrt(variance))), math.erfc(abs(mean) / math.sqrt(2 * independent))
    )
    return Interval(max(-1.0, mean - half), min(1.0, mean + half)), p_value


def student(degrees: float) -> float:
    """The two-sided 95% quantile of Student's t. degrees: above 0, not necessarily whole."""
    from scipy.special import stdtrit

    return -float(stdtrit(degrees, 0.025))


def _prior_ratio(sizes: Floats) -> float:
    """Variance relative to that of independent images, for groups of these sizes and the prior's correlation."""
    return float(1 + _CORRELATION * ((sizes**2).sum() / sizes.sum() - 1))


def _degrees_by_kurtosis(degrees: float, kurtosis: float) -> float:
    """Degrees of freedom of a variance whose terms have an excess kurtosis; kurtosis: of the mean of them."""
    return 2 / (2 / degrees + min(_MOST_KURTOSIS, max(0.0, kurtosis)))


def _hull(first: Interval, second: Interval) -> Interval:
    return Interval(min(first.low, second.low), max(first.high, second.high))
