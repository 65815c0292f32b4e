"""The debiased calibration error of networks whose true root mean square gap is known."""

from __future__ import annotations

import math
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray
from simulated.cells import Band, Cell, Generator, Measures

from snellen.insight.calibration import calibration

Floats = NDArray[np.float64]

_CLASSES = 4
# Shape of the distribution of the true chance of being right, between .3 and 1.
_CHANCES = {"sure": (5.0, 1.2), "unsure": (2.0, 2.0)}


def _chance(generator: Generator, kind: str, images: int) -> Floats:
    return np.asarray(np.clip(0.3 + 0.7 * generator.beta(*_CHANCES[kind], images), 0.3, 1 - 1e-6))


def _logit(share: Floats) -> Floats:
    return np.asarray(np.log(share / (1 - share)))


def _expit(value: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-value)))


def _confidence(chance: Floats, temperature: float) -> Floats:
    """What a network says that is overconfident by a temperature, and never says less than 1 / classes."""
    return np.maximum(0.26, _expit(temperature * _logit(chance)))


def _chance_given(chance: Floats, spread: float) -> Floats:
    """Mean over groups, whose logits are normal around the chance's."""
    if not spread:
        return chance
    nodes, weights = np.polynomial.hermite_e.hermegauss(31)
    grid = np.linspace(0.29, 1 - 1e-7, 4001)
    means = _expit(_logit(grid)[:, None] + spread * nodes) @ (weights / weights.sum())
    return np.interp(chance, grid, means)


@cache
def _temperature(kind: str, truth: float, spread: float) -> tuple[float, float]:
    """The temperature at which the gap is `truth` without groups; and the gap with them."""
    from scipy.optimize import brentq

    chance = _chance(np.random.default_rng(0), kind, 400_000)

    def gap(temperature: float, spread: float = 0.0) -> float:
        confidence = _confidence(chance, temperature)
        return math.sqrt(float(((confidence - _chance_given(chance, spread)) ** 2).mean()))

    temperature = float(brentq(lambda t: gap(t) - truth, 1, 20)) if truth else 1.0
    return temperature, gap(temperature, spread)


def _draw(
    generator: Generator, kind: str, images: int, truth: float, groups: int | None = None, spread: float = 0.0
) -> Measures:
    """groups: of equal size, or None; spread: standard deviation of their logits."""
    temperature, gap = _temperature(kind, truth, spread)
    chance = _chance(generator, kind, images)
    confidence = _confidence(chance, temperature)
    group = None if groups is None else np.arange(images) % groups
    if group is not None:
        chance = _expit(_logit(chance) + spread * generator.standard_normal(int(groups or 0))[group])
    target = np.where(generator.random(images) < chance, 0, 1)
    probabilities = np.empty((images, _CLASSES))
    probabilities[:] = ((1 - confidence) / (_CLASSES - 1))[:, None]
    probabilities[:, 0] = confidence
    result = calibration(probabilities.astype(np.float32), target, group)
    interval = result.error_interval
    if interval is None or result.error is None:
        return dict.fromkeys(("covers", "width", "outside", "zero width"), math.nan) | {"given": 0.0}
    return {
        "covers": float(interval.low - 1e-6 <= gap <= interval.high),
        "width": interval.high - interval.low,
        "outside": float(not interval.low <= result.error <= interval.high),
        "zero width": float(interval.low == interval.high),
        "given": 1.0,
    }


_NEVER = Band(high=0.0)
_BANDS = {"covers": Band(0.93), "outside": _NEVER, "zero width": _NEVER}

CELLS = [
    *(
        Cell(
            "calibration error",
            f"{images} images, truth {truth}, {kind}",
            partial(_draw, kind=kind, images=images, truth=truth),
            {"given": _NEVER} if images < 200 else _BANDS,
            150 if (images, kind) == (406, "unsure") and truth in (0.0, 0.084) else 0,
        )
        for images in (50, 200, 406, 5000)
        for truth in (0.0, 0.03, 0.084, 0.169)
        for kind in _CHANCES
        if (truth, kind) != (0.169, "sure")  # chances near 1 leave no room for such a gap
    ),
    *(
        Cell(
            "calibration error, groups",
            f"{groups} groups of {images // groups}, truth {truth}, spread {spread}",
            partial(_draw, kind="unsure", images=images, truth=truth, groups=groups, spread=spread),
            _BANDS,
        )
        for groups, images in ((3, 300), (5, 300), (10, 400), (20, 800), (50, 1000))
        for truth in (0.0, 0.084, 0.169)
        for spread in (0.0, 0.5, 1.0)
    ),
]
