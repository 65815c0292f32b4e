"""One setting, or two, with several seeds: high accuracies, where errors are few, and images in groups."""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy.stats import norm
from simulated.cells import Band, Cell, Generator, Measures

from snellen.insight.settings import Scores, by_unit, compare, expected_by_setting, unit_degrees

_FEW_ACCURACIES = (0.90, 0.93, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998)


def _draw_right(
    generator: Generator, seeds: int, images: int, accuracy: float, seed_spread: float, settings: int
) -> list:
    """(S, N) of each setting. seed_spread: of a latent level; images, settings, seeds and chance are crossed."""
    total = np.sqrt(1 + 0.5**2 + 0.7**2 + seed_spread**2)
    ease = generator.standard_normal(images)
    level = float(norm.ppf(accuracy)) * total
    return [
        ease
        + 0.5 * generator.standard_normal(images)
        + 0.7 * generator.standard_normal((seeds, images))
        + seed_spread * generator.standard_normal((seeds, 1))
        + level
        > 0
        for _ in range(settings)
    ]


def _measures(settings: list[Scores], accuracy: float) -> Measures:
    """Measures of the first of two settings, both of that accuracy, and of the pair."""
    interval = settings[0].uncertainty().over.interval
    (pair,) = compare(settings, expected_by_setting(settings))
    difference_interval = pair.over.interval
    assert interval is not None
    assert difference_interval is not None
    return {
        "covers": float(interval.low <= accuracy <= interval.high),
        "pair covers": float(difference_interval.low <= 0 <= difference_interval.high),
        "falsely beats": float(pair.p_holm is not None and pair.p_holm < 0.05),
        "width": interval.high - interval.low,
        "width of the pair": difference_interval.high - difference_interval.low,
        "zero width": float(interval.low == interval.high or difference_interval.low == difference_interval.high),
    }


def _few_errors(generator: Generator, seeds: int, images: int, accuracies: tuple[float, ...]) -> Measures:
    """Two settings of the same accuracy, drawn from those given."""
    accuracy = float(generator.choice(accuracies))
    right = _draw_right(generator, seeds, images, accuracy, 0.05, 2)
    settings = [Scores(tuple(range(seeds)), correct.astype(np.float64), correct, "one") for correct in right]
    return _measures(settings, accuracy)


def _groups(generator: Generator, groups: int, ratio: int, correlation: float) -> Measures:
    """Two settings of the same accuracy with three seeds, on groups of about 20 images whose luck is partly shared."""
    sizes = np.full(groups, 20) if ratio == 1 else np.round(np.geomspace(6, 60, groups)).astype(int)
    group, accuracy, seeds = np.repeat(np.arange(groups), sizes), 0.8, 3

    def effect(spread: float) -> np.ndarray:
        shared = np.sqrt(correlation) * generator.standard_normal(groups)[group]
        return spread * (shared + np.sqrt(1 - correlation) * generator.standard_normal(len(group)))

    ease, total = effect(1.0), np.sqrt(1 + 0.7**2 + 0.7**2 + 0.05**2)
    settings = []
    for _ in range(2):
        chance = 0.7 * generator.standard_normal((seeds, len(group))) + 0.05 * generator.standard_normal((seeds, 1))
        right = ease + effect(0.7) + chance + float(norm.ppf(accuracy)) * total > 0
        values = by_unit(right.astype(np.float64), group)
        settings.append(Scores(tuple(range(seeds)), values, right, "one", degrees=unit_degrees(group)))
    return _measures(settings, accuracy)


_NEVER = {"zero width": Band(high=0.0), "falsely beats": Band(high=0.06)}
CELLS = [
    *(
        Cell(
            "several seeds, few errors",
            f"{seeds} seeds, {images} images, accuracy {accuracy}",
            partial(_few_errors, seeds=seeds, images=images, accuracies=(accuracy,)),
            {"covers": Band(0.90), "pair covers": Band(0.90), **_NEVER},
        )
        for images in (50, 406)
        for accuracy in (0.90, 0.95, 0.98, 0.99, 0.998)
        for seeds in (2, 3, 5)
    ),
    *(
        Cell(
            "several seeds, few errors",
            f"{seeds} seeds, {images} images, accuracies .90 to .998",
            partial(_few_errors, seeds=seeds, images=images, accuracies=_FEW_ACCURACIES),
            {"covers": Band(0.94), "pair covers": Band(0.94), **_NEVER},
            300 if images == 50 and seeds == 3 else 0,
        )
        for images in (50, 406)
        for seeds in (2, 3, 5)
    ),
    *(
        Cell(
            "several seeds, groups",
            f"{groups} groups, sizes 1:{ratio}, correlation {correlation}, 3 seeds",
            partial(_groups, groups=groups, ratio=ratio, correlation=correlation),
            {"covers": Band(0.93 if groups < 10 else 0.94), "pair covers": Band(0.93), **_NEVER},
        )
        for groups in (3, 5, 10)
        for ratio in (1, 10)
        for correlation in (0.0, 0.3)
    ),
]
