"""What a comparison on so many images can show."""

from __future__ import annotations

import math

from snellen.insight.proportions import Interval

_ALPHA = 0.05
_POWER = 0.8


def images_needed(difference: float, discordance: float, power: float = _POWER, alpha: float = _ALPHA) -> int:
    """Images on which McNemar's test finds a true difference with this power.

    difference: of the two accuracies, in [-1, 1], not 0. discordance: share of the images on which only one is right,
    at least |difference|. Source: Connor 1987, Biometrics 43:207. Raises ValueError for a difference of 0.
    """
    from scipy.stats import norm

    size = abs(difference)
    if size == 0 or discordance < size:
        raise ValueError(f"difference {difference} with a discordance of {discordance}")
    null, alternative = float(norm.ppf(1 - alpha / 2)), float(norm.ppf(power))
    return math.ceil((null * math.sqrt(discordance) + alternative * math.sqrt(discordance - size**2)) ** 2 / size**2)


def smallest_difference(images: int, discordance: float, power: float = _POWER, alpha: float = _ALPHA) -> float:
    """The smallest true difference that McNemar's test on so many images finds with this power; at most `discordance`.

    Returns NaN when not even a difference as large as the discordance would be found.
    """
    from scipy.optimize import brentq

    if discordance <= 0 or images_needed(discordance, discordance, power, alpha) > images:
        return math.nan
    smallest = 1e-6
    return float(brentq(lambda d: images_needed(d, discordance, power, alpha) - images, smallest, discordance))


def images_by_interval(difference: float, interval: Interval, images: int) -> int:
    """Images on which a test by a symmetric 95% interval finds a true difference with a power of 80%.

    interval: of the difference on `images` images; its width falls with the root of their number. difference: not 0.
    """
    return math.ceil(images * (smallest_by_interval(interval) / difference) ** 2)


def smallest_by_interval(interval: Interval) -> float:
    """The smallest true difference that a test with an interval as wide as this 95% one finds with a power of 80%."""
    from scipy.stats import norm

    quantile, power = float(norm.ppf(1 - _ALPHA / 2)), float(norm.ppf(_POWER))
    return (interval.high - interval.low) / (2 * quantile) * (quantile + power)
