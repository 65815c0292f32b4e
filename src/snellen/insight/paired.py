"""Two runs on the same images: is one better?"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.insight.groups import mean_difference, why_no_interval
from snellen.insight.proportions import Interval, wilson


@dataclass(frozen=True)
class PairedTest:
    """difference: accuracy of A minus that of B, with its 95% interval. p_value: two-sided, of no difference.

    Both are None if the images come in too few groups for them; why_no_test gives the reason, such as "only 2 groups".
    only_a, only_b: images that only A or only B gets right. total: images. method: of the p-value and the interval.
    groups: number of groups, None if the images are not grouped.
    """

    difference: float
    interval: Interval | None
    p_value: float | None
    only_a: int
    only_b: int
    total: int
    method: str
    why_no_test: str | None = None
    groups: int | None = None

    @property
    def discordance(self) -> float:
        """Share of the images on which only one of the two is right."""
        return (self.only_a + self.only_b) / self.total


def mcnemar(correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_]) -> PairedTest:
    """McNemar's test with the exact mid-p value, and Newcombe's interval of the difference.

    correct_a, correct_b: (N,) whether each run gets each image right.
    Sources: McNemar 1947; mid-p: Fagerland, Lydersen & Laake 2013, BMC Med Res Methodol 13:91, eq. 4; interval:
    Newcombe 1998, Stat Med 17:2635, method 10.
    """
    from scipy.stats import binom

    total = len(correct_a)
    only_a = int((correct_a & ~correct_b).sum())
    only_b = int((correct_b & ~correct_a).sum())
    both = int((correct_a & correct_b).sum())
    discordant = only_a + only_b
    smaller = min(only_a, only_b)
    p_value = 1.0
    if discordant:
        tail = float(binom.cdf(smaller, discordant, 0.5)) - 0.5 * float(binom.pmf(smaller, discordant, 0.5))
        p_value = min(1.0, 2 * tail)
    interval = _newcombe(both, only_a, only_b, total)
    return PairedTest((only_a - only_b) / total, interval, p_value, only_a, only_b, total, "McNemar, exact mid-p")


def paired(correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_], groups: NDArray[np.int64] | None) -> PairedTest:
    """`mcnemar`, or `paired_by_group` for images in groups. groups: (N,) int64, None if images are not grouped."""
    return mcnemar(correct_a, correct_b) if groups is None else paired_by_group(correct_a, correct_b, groups)


def paired_by_group(
    correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_], groups: NDArray[np.int64]
) -> PairedTest:
    """As `mcnemar`, for images in groups: interval and p-value are from one t test between groups.

    groups: (N,) int64. For fewer than three groups there is neither. See insight.groups.mean_difference.
    """
    difference = correct_a.astype(np.float64) - correct_b.astype(np.float64)
    interval, p_value = mean_difference(difference, groups) or (None, None)
    only_a, only_b = int((difference > 0).sum()), int((difference < 0).sum())
    return PairedTest(
        difference=float(difference.mean()),
        interval=interval,
        p_value=p_value,
        only_a=only_a,
        only_b=only_b,
        total=len(difference),
        method="t test between groups",
        why_no_test=why_no_interval(groups),
        groups=len(np.unique(groups)),
    )


def images_to_exclude(correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_], loss: float) -> int | None:
    """Images on which `mcnemar`'s interval would exclude that A is worse than B by `loss`, at the shares of these.

    correct_a, correct_b: (N,) as there. loss: of accuracy, above 0. Returns None if A is worse by that much already.
    """
    total = len(correct_a)
    counts = [int(part.sum()) for part in (correct_a & correct_b, correct_a & ~correct_b, correct_b & ~correct_a)]
    if (counts[1] - counts[2]) / total <= -loss:
        return None

    def excludes(images: int) -> bool:
        both, only_a, only_b = (round(count * images / total) for count in counts)
        return _newcombe(both, only_a, only_b, images).low > -loss

    high = 1
    while not excludes(high):
        high *= 2
    return bisect_left(range(high), True, lo=high // 2, key=excludes)


def _newcombe(both: int, only_a: int, only_b: int, total: int) -> Interval:
    right_a, right_b = both + only_a, both + only_b
    neither = total - both - only_a - only_b
    share_a, share_b = right_a / total, right_b / total
    wilson_a, wilson_b = wilson(right_a, total), wilson(right_b, total)
    product = right_a * (total - right_a) * right_b * (total - right_b)
    numerator: float = both * neither - only_a * only_b
    if numerator > 0:
        numerator = max(0, numerator - total / 2)
    phi = numerator / math.sqrt(product) if product else 0.0
    low_a, high_b = share_a - wilson_a.low, wilson_b.high - share_b
    high_a, low_b = wilson_a.high - share_a, share_b - wilson_b.low
    below = math.sqrt(max(0.0, low_a**2 - 2 * phi * low_a * high_b + high_b**2))
    above = math.sqrt(max(0.0, high_a**2 - 2 * phi * high_a * low_b + low_b**2))
    difference = share_a - share_b
    return Interval(max(-1.0, difference - below), min(1.0, difference + above))
