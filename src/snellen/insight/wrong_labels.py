"""How many labels of a set are wrong, judged by a probe that is sometimes wrong itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.insight.groups import sums_by_unit
from snellen.insight.proportions import Interval

Floats = NDArray[np.float64]

_MOST = 0.5  # share of wrong labels; with more, the probe would have learnt the wrong ones
_GRID = (0.0, *np.geomspace(1e-3, _MOST, 14).tolist())
_DROP = 3.841 / 2  # of the log-likelihood at the ends of a 95% interval: chi-squared with one degree of freedom
_BOUNDS = ((-20.0, 30.0), (0.0, 30.0))  # of the curve's height and slope


@dataclass(frozen=True)
class WrongShare:
    """share: of wrong labels, in [0, 0.5], the maximum of the likelihood. interval: of 95%."""

    share: float
    interval: Interval

    @property
    def is_open(self) -> bool:
        """Whether the probe is too weak, or the images too few, to bound the share from above."""
        return self.interval.high >= 0.9 * _MOST


def wrong_share(
    probabilities: NDArray[np.floating], labels: NDArray[np.int64], groups: NDArray[np.int64] | None = None
) -> WrongShare:
    """The share of wrong labels among images with out-of-fold probabilities (N, C) and labels (N,).

    The share of images whose label is the likeliest class rises with the logit of its probability, m, but where labels
    are wrong it never reaches 1, however sure the probe: it follows (1 - w) s(a + b m) + w (1 - s(a + b m)) / (C - 1),
    with s the logistic function and w the share of wrong labels. This is a psychometric curve, and w is its lapse rate
    (Wichmann & Hill 2001). a, b and w maximise the likelihood; the interval is that of the profile likelihood. It
    supposes that wrong labels are as frequent where the probe is sure as where it is not.

    groups: (N,) images that are no independent evidence, such as copies. The log-likelihood is divided by the ratio of
    the variance of the residuals' sums over groups to that of independent images, if above 1 (Rao & Scott 1984).
    Raises ValueError for fewer than two classes.
    """
    classes = probabilities.shape[1]
    if classes < 2:
        raise ValueError(f"{classes} classes: no label could be wrong")
    best = np.clip(probabilities.max(1).astype(np.float64), 1e-9, 1 - 1e-9)
    sure = np.log(best) - np.log1p(-best)
    agrees = probabilities.argmax(1) == labels
    if agrees.mean() <= 1 / classes:
        return WrongShare(0.0, Interval(0.0, _MOST))  # no better than chance: it could as well be the labels
    spread = max(float(sure.std()), 1e-6)
    curve = _Curve((sure - sure.mean()) / spread, agrees, classes)
    start = np.array([2.0, 1.0])
    values = []
    for share in _GRID:
        value, start = curve.minimise(share, start)
        values.append((value, start))
    place = int(np.argmin([value for value, _ in values]))
    share, lowest, start = _refined(curve, place, values[place][1])
    drop = _DROP * _design_effect(agrees, curve.expected(share, start), groups)

    def excess(at: float) -> float:
        return curve.minimise(at, start)[0] - lowest - drop

    return WrongShare(share, Interval(_crossing(excess, 0.0, share, 0.0), _crossing(excess, _MOST, share, _MOST)))


class _Curve:
    """The negative log-likelihood. sure: (N,) standardised. agrees: (N,) bool."""

    def __init__(self, sure: Floats, agrees: NDArray[np.bool_], classes: int) -> None:
        self._sure, self._agrees, self._others = sure, agrees, classes - 1

    def expected(self, share: float, parameters: Floats) -> Floats:
        """(N,) how probable it is that label and likeliest class are equal."""
        from scipy.special import expit

        right = expit(parameters[0] + parameters[1] * self._sure)
        return np.asarray(np.clip((1 - share) * right + share * (1 - right) / self._others, 1e-12, 1 - 1e-12))

    def minimise(self, share: float, start: Floats) -> tuple[float, Floats]:
        """The least value for a share of wrong labels, and where it is. start: a guess."""
        from scipy.optimize import minimize
        from scipy.special import expit

        slope = 1 - share - share / self._others

        def value(parameters: Floats) -> tuple[float, Floats]:
            right = expit(parameters[0] + parameters[1] * self._sure)
            expected = np.clip(share / self._others + slope * right, 1e-12, 1 - 1e-12)
            seen = np.where(self._agrees, expected, 1 - expected)
            gradient = np.where(self._agrees, -1, 1) / seen * slope * right * (1 - right)
            return -float(np.log(seen).sum()), np.array([gradient.sum(), gradient @ self._sure])

        result = minimize(value, start, jac=True, method="L-BFGS-B", bounds=_BOUNDS)
        return float(result.fun), np.asarray(result.x)


def _refined(curve: _Curve, place: int, start: Floats) -> tuple[float, float, Floats]:
    """The share with the greatest likelihood near a point of the grid, the value and the curve there."""
    from scipy.optimize import minimize_scalar

    low, high = _GRID[max(0, place - 1)], _GRID[min(len(_GRID) - 1, place + 1)]
    found = minimize_scalar(
        lambda share: curve.minimise(share, start)[0], bounds=(low, high), method="bounded", options={"xatol": 1e-5}
    )
    candidates = [float(found.x), _GRID[place]]
    share = min(candidates, key=lambda at: curve.minimise(at, start)[0])
    value, parameters = curve.minimise(share, start)
    return share, value, parameters


def _crossing(excess: Callable[[float], float], end: float, share: float, otherwise: float) -> float:
    """Where the likelihood has fallen enough between the share and an end of its range."""
    from scipy.optimize import brentq

    if end == share or excess(end) <= 0:
        return otherwise
    return float(brentq(excess, min(end, share), max(end, share), xtol=1e-5))


def _design_effect(agrees: NDArray[np.bool_], expected: Floats, groups: NDArray[np.int64] | None) -> float:
    if groups is None:
        return 1.0
    residuals = agrees - expected
    sums = sums_by_unit(residuals, groups)
    return max(1.0, float((sums**2).sum() / (expected * (1 - expected)).sum()))
