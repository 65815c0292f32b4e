"""What a comparison could have shown: a difference of the stated size, drawn anew, and how often it is found."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from simulated.cells import Band, Cell, Generator, Measures

from snellen.insight.paired import mcnemar
from snellen.insight.power import needed, smallest_difference
from snellen.insight.settings import Scores, compare, expected_by_setting


def _images(generator: Generator, images: int, discordance: float, settings: int) -> Measures:
    """Two runs that are level say what they would have found; two others differ by that."""
    pairs = settings * (settings - 1) // 2
    level = 0.05 / pairs
    stated = smallest_difference(images, mcnemar(*_runs(generator, images, 0.0, discordance)).discordance, alpha=level)
    if math.isnan(stated):
        return {"found": math.nan}
    test = mcnemar(*_runs(generator, images, stated, max(discordance, stated)))
    return {"found": float(test.p_value is not None and test.p_value < level)}


def _runs(generator: Generator, images: int, difference: float, discordance: float) -> tuple[np.ndarray, np.ndarray]:
    """(N,) right or wrong of two runs."""
    kind = generator.random(images)
    only_a = kind < (discordance + difference) / 2
    only_b = (kind < discordance) & ~only_a
    both_right = ~only_a & ~only_b & (generator.random(images) < 0.7)
    return only_a | both_right, only_b | both_right


def _seeds(generator: Generator, seeds: int, images: int, spread: float, settings: int) -> Measures:
    """The first pair of a study says what it would have found; in another study its truth differs by that.

    spread: standard deviation of what a seed changes of the accuracy.
    """
    first = _study(generator, seeds, images, spread, settings, 0.0)
    expected = expected_by_setting(first)
    pairs = compare(first, expected)
    stated = needed(pairs[0].uncertainty, len(pairs)).smallest
    if stated is None or stated >= 0.2:
        return {"found": math.nan, "found by Holm": math.nan}
    second = _study(generator, seeds, images, spread, settings, stated)
    repeated = compare(second, expected_by_setting(second))
    p_value, corrected = repeated[0].over.p_value, repeated[0].p_holm
    return {
        "found": float(p_value is not None and p_value < 0.05 / len(pairs)),
        "found by Holm": float(corrected is not None and corrected < 0.05),
    }


def _study(
    generator: Generator, seeds: int, images: int, spread: float, settings: int, difference: float
) -> list[Scores]:
    """Settings whose images are right with a probability of their own: ease, setting and seed are crossed effects.

    difference: by which the first is better than all others.
    """
    ease = 0.75 + 0.12 * generator.choice([-1.0, 1.0], images)
    scores = []
    for number in range(settings):
        chances = ease + 0.05 * generator.choice([-1.0, 1.0], images) + (difference if number == 0 else -difference) / 2
        right = generator.random((seeds, images)) < chances + spread * generator.standard_normal((seeds, 1))
        scores.append(Scores(tuple(range(seeds)), right.astype(np.float64), right, "one"))
    return scores


CELLS = [
    *(
        Cell(
            "found four times in five",
            f"images only, {images} images, {discordance:.0%} discordant, {settings} settings",
            partial(_images, images=images, discordance=discordance, settings=settings),
            {"found": Band(0.75, 0.85)},
            60 if images == 406 and settings == 5 else 0,
        )
        for images, discordance in ((100, 0.2), (406, 0.05), (5000, 0.2))
        for settings in (2, 5, 10)
    ),
    *(
        Cell(
            "found four times in five",
            f"{seeds} seeds, {images} images, a seed's effect {spread}, {settings} settings",
            partial(_seeds, seeds=seeds, images=images, spread=spread, settings=settings),
            {"found": Band(0.70, 0.90)},
        )
        for seeds, images, spread in ((5, 406, 0.01), (5, 5000, 0.002), (5, 5000, 0.01), (10, 406, 0.01))
        for settings in (2, 5)
    ),
]
