"""Images that come in groups: one run's figures and the difference of two runs."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from numpy.typing import NDArray
from simulated.cells import Band, Cell, Generator, Measures

from snellen.insight.classification import figures
from snellen.insight.paired import paired_by_group
from snellen.insight.proportions import Interval

_MEAN = 20  # images of a group
_FEW, _MANY = {"covers": Band(0.93)}, {"covers": Band(0.94, 0.97)}
_NEVER = {"zero width": Band(high=0.0)}


def sizes(groups: int, is_equal: bool) -> NDArray[np.int64]:
    """Images of each group: 20, or from 4 to 40 in equal ratios."""
    return np.full(groups, _MEAN) if is_equal else np.geomspace(4, 40, groups).round().astype(np.int64)


def measures_of(interval: Interval | None, truth: float, known_variance: float = math.nan) -> Measures:
    """The measures of an interval; NaN if there is none."""
    width = math.nan if interval is None else interval.high - interval.low
    return {
        "given": float(interval is not None),
        "covers": math.nan if interval is None else float(interval.low <= truth <= interval.high),
        "width": width,
        "width over known": width / (2 * 1.96 * math.sqrt(known_variance)),
        "zero width": math.nan if interval is None else float(width == 0),
    }


def _draw_right(
    generator: Generator, counts: NDArray[np.int64], accuracy: float, correlation: float
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """(N,) right or wrong, and groups: each group has a chance of its own from a beta distribution."""
    chance = np.full(len(counts), accuracy)
    if correlation:
        total = 1 / correlation - 1
        chance = generator.beta(accuracy * total, (1 - accuracy) * total, len(counts))
    groups = np.repeat(np.arange(len(counts)), counts)
    return generator.random(len(groups)) < chance[groups], groups


def _top1(generator: Generator, groups: int, is_equal: bool, accuracy: float, correlation: float) -> Measures:
    counts = sizes(groups, is_equal)
    right, group = _draw_right(generator, counts, accuracy, correlation)
    probabilities = np.column_stack([right, ~right]).astype(np.float32)
    interval = figures(probabilities, np.zeros(len(right), np.int64), group).top1_interval
    variance = accuracy * (1 - accuracy) * (counts * (1 + correlation * (counts - 1))).sum() / counts.sum() ** 2
    return measures_of(interval, accuracy, variance)


def _means(
    generator: Generator, measure: str, groups: int, accuracy: float, correlation: float, nested: bool
) -> Measures:
    """Four classes, of one size, or with 40, 30, 20 and 10% of the images. nested: each group is of one class."""
    counts = sizes(groups, True)
    right, group = _draw_right(generator, counts, accuracy, correlation)
    chances = np.full(4, 0.25) if nested else np.array([0.4, 0.3, 0.2, 0.1])
    target = group % 4 if nested else generator.choice(4, len(group), p=chances)
    predicted = np.where(right, target, (target + generator.integers(1, 4, len(group))) % 4)
    probabilities = np.eye(4, dtype=np.float32)[predicted]
    answers = chances * accuracy + (1 - accuracy) * (1 - chances) / 3
    f1 = float((2 * chances * accuracy / (chances + answers)).mean())
    result = figures(probabilities, target.astype(np.int64), group)
    if measure == "recall":
        return measures_of(result.classes[0].recall_interval, accuracy)
    return measures_of(
        *((result.balanced_interval, accuracy) if measure == "balanced" else (result.macro_f1_interval, f1))
    )


def _pair(
    generator: Generator, groups: int, is_equal: bool, correlation: float, accuracies: tuple[float, float]
) -> Measures:
    """Two runs that see the same images; how good each is differs from group to group.

    correlation: share of the variance that a run's ease of a group has; what the runs have in common has 0.4.
    """
    from scipy.stats import norm

    counts = sizes(groups, is_equal)
    group = np.repeat(np.arange(groups), counts)
    common = math.sqrt(0.4) * generator.standard_normal(len(group))
    runs = []
    for accuracy in accuracies:
        by_group = math.sqrt(correlation) * generator.standard_normal(groups)[group]
        noise = math.sqrt(0.6 - correlation) * generator.standard_normal(len(group))
        runs.append(common + by_group + noise < norm.ppf(accuracy))
    test = paired_by_group(*runs, group)
    measures = measures_of(test.interval, accuracies[0] - accuracies[1])
    p_value = math.nan if test.p_value is None else test.p_value
    return {**measures, "p below .05": float(p_value < 0.05) if p_value == p_value else math.nan}


def _bands(groups: int) -> dict[str, Band]:
    if groups < 3:
        return {"given": Band(high=0.0)}
    return (_FEW if groups < 10 else _MANY) | _NEVER


def _name(groups: int, is_equal: bool) -> str:
    return f"{groups} group{'s' if groups > 1 else ''}{'' if is_equal else ' of 4 to 40'}"


_SHORT = ((3, True, 0.7, 0.1), (10, True, 0.9, 0.3), (10, False, 0.7, 0.3))

CELLS = [
    *(
        Cell(
            "groups, top-1",
            f"{_name(groups, is_equal)}, accuracy {accuracy}, correlation {correlation}",
            partial(_top1, groups=groups, is_equal=is_equal, accuracy=accuracy, correlation=correlation),
            _bands(groups),
            300 if (groups, is_equal, accuracy, correlation) in _SHORT else 0,
        )
        for groups in (1, 2, 3, 5, 10, 20, 50)
        for is_equal in (True, False)
        for accuracy in (0.5, 0.7, 0.9)
        for correlation in (0.0, 0.1, 0.3)
        if groups > 2 or (is_equal and accuracy == 0.7 and correlation == 0.1)
    ),
    *(
        Cell(
            f"groups, {name}",
            f"{groups} groups{' of one class' if nested else ''}, accuracy {accuracy}, correlation {correlation}",
            partial(_means, measure=name, groups=groups, accuracy=accuracy, correlation=correlation, nested=nested),
            _bands(groups),
            200 if (groups, nested, accuracy, correlation) == (10, False, 0.7, 0.3) else 0,
        )
        for name in ("balanced", "macro F1", "recall")
        for groups, nested in ((3, False), (5, False), (10, False), (20, False), (20, True))
        for accuracy in (0.7, 0.9)
        for correlation in (0.0, 0.1, 0.3)
        if not (nested and name == "recall")
    ),
    *(
        Cell(
            "groups, two runs",
            f"{_name(groups, is_equal)}, accuracies {a} and {b}, correlation {correlation}",
            partial(_pair, groups=groups, is_equal=is_equal, correlation=correlation, accuracies=(a, b)),
            _bands(groups) | ({"p below .05": Band(high=0.06)} if a == b and groups > 2 else {}),
            300
            if (groups, is_equal, a, b, correlation) in ((3, True, 0.7, 0.7, 0.3), (10, True, 0.9, 0.9, 0.0))
            else 0,
        )
        for groups in (1, 2, 3, 5, 10, 20, 50)
        for is_equal in (True, False)
        for a, b in ((0.7, 0.7), (0.9, 0.9), (0.8, 0.6))
        for correlation in (0.0, 0.1, 0.3)
        if groups > 2 or (is_equal and a == b == 0.7 and correlation == 0.1)
    ),
]
