"""A share of images, and how sure one can be of it."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """Where the true value lies with the stated confidence, 95% unless said otherwise."""

    low: float
    high: float


def wilson(correct: int, total: int, confidence: float = 0.95) -> Interval:
    """Interval of the share correct / total, in [0, 1]. Raises ValueError when there are no images.

    Source: Wilson 1927, the score interval.
    """
    from statsmodels.stats.proportion import proportion_confint

    if total < 1 or not 0 <= correct <= total:
        raise ValueError(f"{correct} of {total}: no share")
    low, high = proportion_confint(correct, total, alpha=1 - confidence, method="wilson")
    return Interval(max(0.0, float(low)), min(1.0, float(high)))


def possible_accuracy(value: float, total: int, digits: int = 4) -> bool:
    """Whether some count of right images out of `total`, rounded to `digits` decimals, gives `value`.

    An accuracy that no count gives was not taken over images: a mean of batch means, for example.
    """
    nearest = round(value * total)
    tolerance = 0.5 * 10**-digits * (1 + 1e-9)
    return any(
        0 <= count <= total and math.isclose(count / total, value, rel_tol=0, abs_tol=tolerance)
        for count in (nearest - 1, nearest, nearest + 1)
    )
