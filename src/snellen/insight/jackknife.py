"""Intervals of figures that are functions of sums over images, but not means: the jackknife, and Student's t."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from snellen.insight.groups import Floats, student
from snellen.insight.proportions import Interval, wilson

_NO_SPREAD = 1e-12  # of pseudo-values around 1: what is left of units that are all alike is rounding


def pseudo_values(statistic: Callable[[Floats], Floats], sums: Floats) -> tuple[Floats, Floats]:
    """(K,) the statistics of all units together, and (U, K) their pseudo-values.

    sums: (U, …) of each unit, an image or a group of images. statistic: sums of several sets of units, (r, …), to (r,
    K); it must be finite if any one unit is left out. A unit's pseudo-value is U times the statistic minus U - 1
    times that of the others. Sources: Tukey 1958, Ann Math Stat 29:614; Miller 1974, Biometrika 61:1.
    """
    units, total = len(sums), sums.sum(0)
    whole = statistic(total[None])[0]
    return whole, units * whole - (units - 1) * statistic(total - sums)


def degrees_of_freedom(sizes: Floats) -> float:
    """Degrees of freedom of the variance of pseudo-values: U - 1 for units of one size, fewer if some are larger.

    sizes: (U,) of the units, at least 0: what each has in the denominator; no unit has all of it. Satterthwaite's for
    independent images, so that a unit's variance is proportional to its size: pseudo-values are then normal with
    covariance C A C: C subtracts their mean, A = diag(h / (1 - h)^2) - b b', b = h / (1 - h), h = sizes / their sum,
    and the degrees are tr(C A C)^2 / tr((C A C)^2).
    Sources: Satterthwaite 1946, Biometrics 2:110; Bell & McCaffrey 2002, Survey Methodology 28:169, section 4.
    """
    part = sizes / sizes.sum()
    units, b = len(part), part / (1 - part)
    a = b / (1 - part)
    rows = a - b * b.sum()  # A 1
    trace = a.sum() - (b**2).sum() - rows.sum() / units
    squares = (a**2).sum() - 2 * (a * b**2).sum() + (b**2).sum() ** 2
    squares += (rows.sum() / units) ** 2 - 2 * (rows**2).sum() / units
    return float(trace**2 / squares)


def t_interval(value: float, pseudo: Floats, sizes: Floats) -> tuple[Interval | None, float | None]:
    """95% interval of a statistic and the two-sided p-value of its being zero, by Student's t.

    value: of all units. pseudo: (U,) its pseudo-values, U > 1. sizes: (U,) as in `degrees_of_freedom`. The
    pseudo-values' standard error is the statistic's; the interval is around the statistic itself, not around their
    mean. None if they are all alike: then nothing is known about their spread.
    Sources: Tukey 1958; for groups, MacKinnon, Nielsen & Webb 2023, J Appl Econometrics 38:671.
    """
    from scipy.special import stdtr

    error = _standard_error(pseudo)
    if error is None:
        return None, None
    degrees = degrees_of_freedom(sizes)
    half = student(degrees) * error
    return Interval(value - half, value + half), 2 * float(stdtr(degrees, -abs(value) / error))


def share_interval(value: float, pseudo: Floats, sizes: Floats, units: int) -> Interval | None:
    """The same for a statistic in [0, 1], on the scale of log(x / (1 - x)): within [0, 1], and skewed near its ends.

    Its standard error there is the statistic's over x (1 - x). If it is 0 or 1, no unit is partly wrong: Wilson's
    interval of `units` all right or all wrong. None if the pseudo-values are all alike otherwise, or if one is
    NaN, since that unit cannot be left out.
    """
    from scipy.special import expit, logit

    if value in (0.0, 1.0):
        return wilson(units * int(value), units)
    error = None if np.isnan(pseudo).any() else _standard_error(pseudo)
    if error is None:
        return None
    half = student(degrees_of_freedom(sizes)) * error / (value * (1 - value))
    return Interval(float(expit(logit(value) - half)), float(expit(logit(value) + half)))


def _standard_error(pseudo: Floats) -> float | None:
    error = float(pseudo.std(ddof=1)) / math.sqrt(len(pseudo))
    return error if error > _NO_SPREAD * len(pseudo) else None
