"""A share of images, and its interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

NORMAL = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Interval:
    """An interval that covers the true value with 95% confidence."""

    low: float
    high: float


def percents(interval: Interval, digits: int = 1) -> str:
    """Its ends in percent: "61.0 to 75.2". digits: decimals."""
    return f"{100 * interval.low:.{digits}f} to {100 * interval.high:.{digits}f}"


def ratio(numerator: NDArray[np.generic], denominator: NDArray[np.generic]) -> NDArray[np.float64]:
    """Numerator over denominator, element by element; NaN if the denominator is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(denominator > 0, numerator / denominator, np.nan)  # type: ignore[operator]


def wilson(correct: int, total: int) -> Interval:
    """95% interval of the share correct / total, in [0, 1]. Raises ValueError if there are no images.

    Source: Wilson 1927, the score interval.
    """
    if total < 1 or not 0 <= correct <= total:
        raise ValueError(f"{correct} of {total}: no share")
    return score_interval(correct / total, total)


def score_interval(share: float, images: float, quantile: float = NORMAL) -> Interval:
    """The shares p, in [0, 1], for which |share - p| is at most quantile times the root of p (1 - p) / images.

    images: above 0, not necessarily whole: the number that corresponds to a variance. Source: Wilson 1927.
    """
    square = quantile**2 / images
    centre = share + square / 2
    half = math.sqrt(square * (max(0.0, share * (1 - share)) + square / 4))
    low, high = (centre - half) / (1 + square), (centre + half) / (1 + square)
    return Interval(max(0.0, min(share, low)), min(1.0, max(share, high)))  # holds the share, whatever rounding does
