"""The variance between seeds, estimated from the seeds of all settings together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Prior:
    """The variance expected before a setting's own seeds are known, with the degrees of freedom that it is worth."""

    variance: float
    degrees: float

    def moderate(self, variance: float, degrees: int) -> float:
        """The expected variance combined with an observed one that has `degrees` degrees of freedom.

        Large enough that t's interval covers the truth in at least 90% even if it is unlike all others: the quantile of
        all degrees of freedom times its root is never below that of the 90% interval from the observed one alone. Two
        or three seeds cannot show for which setting the uncertainty is underestimated.
        Source: Smyth 2004, section 3; the bound is ours, for studies of few settings with one unlike the others.
        """
        from scipy.special import stdtrit

        if not self.degrees:
            return variance
        together = (self.degrees * self.variance + degrees * variance) / (self.degrees + degrees)
        alone, all_degrees = float(stdtrit(degrees, 0.95)), float(stdtrit(degrees + self.degrees, 0.975))
        return max(variance * max(1.0, alone / all_degrees) ** 2, together)


NOTHING_KNOWN = Prior(0.0, 0.0)


def prior(variances: NDArray[np.float64], degrees: int, independent: int) -> Prior:
    """A prior from similar variances, each with few degrees of freedom.

    variances: (P,), at least 0, each with this many degrees of freedom; independent: how many of them are, since the
    differences of C settings contain C - 1. If the variances differ no more than equal ones would by chance, each is
    pooled fully with the others; the more they differ, the less. Two guards for few variances, with their rough fit:
    the prior's degrees are no more than those of the other independent variances, and its variance is at least the
    mean. Fewer than three variances, or none above 0, give no prior.
    Source: empirical Bayes, moments of log variances: Smyth 2004, Stat. Appl. Genet. Mol. Biol. 3:3, section 6.2.
    """
    from scipy.special import digamma, polygamma

    middle = float(np.median(variances)) if len(variances) > 2 else 0.0
    if not middle:
        return NOTHING_KNOWN
    half = degrees / 2
    logs = np.log(np.maximum(variances, 1e-5 * middle)) - digamma(half) + np.log(half)
    spread = float(logs.var(ddof=1) - polygamma(1, half))
    most, mean = float(degrees * (independent - 1)), float(variances.mean())
    if spread <= 0:
        return Prior(mean, most)
    fitted_degrees = 2 * _inverse_trigamma(spread)
    centre = float(np.exp(logs.mean() + digamma(fitted_degrees / 2) - np.log(fitted_degrees / 2)))
    return Prior(max(centre, mean), min(fitted_degrees, most))


def _inverse_trigamma(value: float) -> float:
    from scipy.optimize import brentq
    from scipy.special import polygamma

    low, high = 1 / (value + np.sqrt(value)) / 2, 1 / value + 1  # trigamma(x) is between 1/x and 1/x + 1/x^2
    return float(brentq(lambda x: polygamma(1, x) - value, low, high))
