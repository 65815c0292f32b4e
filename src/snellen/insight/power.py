"""The power of a comparison, and the number of images or seeds that it needs."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from snellen.insight.decision import LEVEL
from snellen.insight.groups import FEWEST
from snellen.insight.proportions import Interval
from snellen.insight.seeds import Uncertainty

FEWEST_SEEDS_TO_PLAN, FEWEST_SEEDS_FOR_POWER = 3, 5
_POWER, _Z_POWER = 0.8, 0.8416212  # the last: the normal quantile of the power
_MOST_IMAGES, _MOST_SEEDS = 1_000_000, 100
_MANY = 5000  # discordant images from which on normal quantiles are as good as the exact power


def power_of_mcnemar(difference: float, discordance: float, images: int, alpha: float = LEVEL) -> float:
    """Probability that McNemar's test with the mid-p value finds a true difference on this many images.

    difference: of the two accuracies, in [-1, 1]. discordance: share of the images on which only one is right, at least
    |difference|. Exact: over the number of discordant images, and over how many of them one run gets right.
    """
    from scipy.stats import binom

    spread = 7 * math.sqrt(images * discordance * (1 - discordance)) + 1
    low, high = max(0, math.floor(images * discordance - spread)), min(images, math.ceil(images * discordance + spread))
    discordant = np.arange(low, high + 1)
    most = binom.ppf(alpha / 2, discordant, 0.5)  # of images that the worse one may have right; may be one too many
    mid_p = 2 * binom.cdf(most, discordant, 0.5) - binom.pmf(most, discordant, 0.5)
    most = np.where(mid_p < alpha, most, most - 1)
    share = (discordance + abs(difference)) / (2 * discordance)
    power_given_discordant = binom.cdf(most, discordant, share) + binom.sf(discordant - most - 1, discordant, share)
    return float((binom.pmf(discordant, images, discordance) * power_given_discordant).sum())


def images_needed(difference: float, discordance: float, alpha: float = LEVEL) -> int:
    """Images on which McNemar's test finds a true difference with a power of 80%.

    difference: of the two accuracies, in [-1, 1], not 0. discordance: share of the images on which only one is right,
    at least |difference|. Source: Connor 1987, Biometrics 43:207, and from there to the exact number if few images
    are discordant. Raises ValueError for a difference of 0.
    """
    from scipy.special import ndtri

    size = abs(difference)
    if size == 0 or discordance < size:
        raise ValueError(f"difference {difference} with a discordance of {discordance}")
    null, alternative = float(ndtri(1 - alpha / 2)), float(ndtri(_POWER))
    about = math.ceil((null * math.sqrt(discordance) + alternative * math.sqrt(discordance - size**2)) ** 2 / size**2)
    if about * discordance > _MANY:
        return about

    def finds(count: int) -> bool:
        return power_of_mcnemar(size, discordance, count, alpha) >= _POWER

    low, high = 1, about
    while not finds(high):
        low, high = high, 2 * high
    return low + bisect_left(range(low, high), True, key=finds)


def smallest_difference(images: int, discordance: float, alpha: float = LEVEL) -> float:
    """The smallest difference that McNemar's test on this many images finds with a power of 80%; at most `discordance`.

    Returns NaN if not even a difference as large as the discordance would be found.
    """
    from scipy.optimize import brentq

    if discordance <= 0 or power_of_mcnemar(discordance, discordance, images, alpha) < _POWER:
        return math.nan

    def surplus(difference: float) -> float:
        return power_of_mcnemar(difference, discordance, images, alpha) - _POWER

    return float(brentq(surplus, 1e-6, discordance, xtol=discordance / 1000))


def images_by_interval(difference: float, interval: Interval, images: int, units: int, alpha: float = LEVEL) -> int:
    """Images on which a test by a symmetric 95% interval finds a true difference with a power of 80%.

    interval: of the difference on `images` images, or groups of them; its width falls with the root of their number.
    units: images or groups. difference: not 0.
    """
    return math.ceil(images * (smallest_by_interval(interval, units, alpha) / difference) ** 2)


def images_to_exclude_by_interval(difference: float, interval: Interval, images: int, loss: float) -> int | None:
    """Images on which a symmetric interval would exclude a loss, at the observed difference and spread.

    interval: of the difference on `images` images; its width falls with the root of their number. loss: above 0.
    Returns None if the difference is a loss of that size already. See paired.images_to_exclude for McNemar's interval.
    """
    if difference <= -loss:
        return None
    return math.ceil(images * ((interval.high - interval.low) / 2 / (difference + loss)) ** 2)


def smallest_by_interval(interval: Interval, units: int, alpha: float = LEVEL) -> float:
    """The smallest true difference that a t-test at `alpha` finds with a power of 80%.

    interval: the test's 95% interval. units: images, or groups of them, at least 2; one more than its degrees of
    freedom.
    """
    from scipy.special import stdtrit

    degrees = max(1, units - 1)
    spread = (interval.high - interval.low) / 2 / -float(stdtrit(degrees, LEVEL / 2))
    return spread * -float(stdtrit(degrees, alpha / 2) + stdtrit(degrees, 1 - _POWER))


@dataclass(frozen=True)
class Needed:
    """What is needed to detect a difference as large as the observed one with 80% power.

    images: their number with the seeds unchanged; seeds: their number with the images unchanged. None: no number does,
    or there are only two seeds, too few to tell. smallest: the true difference that the present seeds and images
    detect with 80% power; None with two to four seeds. level: of the test.
    """

    images: int | None
    seeds: int | None
    smallest: float | None
    level: float


def needed(uncertainty: Uncertainty, pairs: int = 1) -> Needed:
    """How many images or seeds a difference needs. pairs: number of comparisons, including this one.

    The level is 0.05 over the number of pairs, Holm's for the smallest p-value; with two to four seeds, whose own
    uncertainty is rough, 0.05: for the pair alone. With one seed, the seeds' part is unknown and `seeds` is None;
    with fewer images, or groups, than an interval needs, everything is.
    """
    seeds_now = uncertainty.seeds
    level = LEVEL / max(1, pairs) if seeds_now == 1 or seeds_now >= FEWEST_SEEDS_FOR_POWER else LEVEL
    if uncertainty.images < FEWEST:
        return Needed(None, None, None, level)

    def finds(seeds: int, images: int) -> float:
        if FEWEST_SEEDS_TO_PLAN <= seeds_now < FEWEST_SEEDS_FOR_POWER:  # no more than an order of magnitude
            return uncertainty.half_width(level, seeds, images) + uncertainty.half_width(
                2 * (1 - _POWER), seeds, images
            )
        return _detectable(uncertainty, level, seeds, images)

    size = abs(uncertainty.mean)
    images = seeds = smallest = None
    if size and (seeds_now == 1 or seeds_now >= FEWEST_SEEDS_TO_PLAN):
        images = _first(lambda count: finds(0, count) <= size, uncertainty.images, _MOST_IMAGES)
    if size and seeds_now >= FEWEST_SEEDS_TO_PLAN:
        seeds = _first(lambda count: finds(count, 0) <= size, seeds_now, _MOST_SEEDS)
    if seeds_now == 1 or seeds_now >= FEWEST_SEEDS_FOR_POWER:
        smallest = finds(0, 0)
    return Needed(images, seeds, smallest, level)


def _detectable(uncertainty: Uncertainty, level: float, seeds: int, images: int) -> float:
    """The true difference that another study, with at least this many seeds and images, detects with 80% power.

    Its test is h standard errors wide, with f degrees of freedom by Satterthwaite. The difference is h + c of them; c
    is z(0.8) times the root of 1 + ((h + c)^2 + h^2) / 2f: the standard error is an estimate in both studies.
    After Julious & Owen 2006, Pharm Stat 5:29; the variance of a standard error: 1 / 2f of its square.
    """
    parts = uncertainty.parts(seeds, images)
    variance, half = sum(value for value, _ in parts), uncertainty.half_width(level, seeds, images)
    if not variance:
        return half
    degrees = variance**2 / sum(value**2 / degrees for value, degrees in parts)
    height, squared = half / math.sqrt(variance), _Z_POWER**2
    a, b, c = 1 - squared / (2 * degrees), squared * height / degrees, squared * (1 + height**2 / degrees)
    return half + math.sqrt(variance) * (b + math.sqrt(b**2 + 4 * a * c)) / (2 * a)


def _first(enough: Callable[[int], bool], start: int, most: int) -> int | None:
    """The smallest sufficient number, at least `start`; more is never worse. None if not even `most` is sufficient."""
    if not enough(most):
        return None
    return start + bisect_left(range(start, most), True, key=enough)
