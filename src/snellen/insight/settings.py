"""Settings of a study against each other: what each borrows from others of its kind, and all pairs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.insight.decision import corrected
from snellen.insight.groups import sums_by_unit, variance_between
from snellen.insight.moderation import NOTHING_KNOWN, Prior, prior
from snellen.insight.seeds import (
    OverSeeds,
    Uncertainty,
    least_of_one,
    least_of_pair,
    seed_variance,
    uncertainty,
    uncertainty_unpaired,
)


@dataclass(frozen=True)
class Scores:
    """A setting's values by seed and image, on the same images as all others.

    seeds: (S,) numbers. values: (S, U) of images or groups of images; a seed's mean is its measure. correct: (S, N)
    which images are right; None if the measure is not a share of right images. kind: fixed before any run, such as
    "head only": settings of a kind share their estimates of the variance between seeds. part: settings of
    one part are compared with each other.
    degrees: of freedom of the units; None: U - 1. See `unit_degrees`.
    """

    seeds: tuple[int, ...]
    values: NDArray[np.float64]
    correct: NDArray[np.bool_] | None
    kind: str
    part: float = 1.0
    degrees: float | None = None

    def uncertainty(self, expected: Prior = NOTHING_KNOWN) -> Uncertainty:
        """About its mean."""
        least = 0.0 if self.correct is None else least_of_one(self.correct)
        return uncertainty(self.values, expected, least, self.degrees)


@dataclass(frozen=True)
class Compared:
    """Two settings by their numbers. uncertainty: of A's mean minus B's. is_paired: seed by seed.

    p_holm: corrected for all pairs, None for no test.
    """

    a: int
    b: int
    uncertainty: Uncertainty
    over: OverSeeds
    p_holm: float | None
    is_paired: bool


def by_unit(values: NDArray[np.float64], groups: NDArray[np.int64] | None) -> NDArray[np.float64]:
    """(S, G) values of groups of images, whose mean is that of the images; unchanged if images are not grouped.

    values: (S, N). groups: (N,). A group's value is linearised: the seed's mean plus the group's sum of its images'
    deviations from it, so that a group's size is not mistaken for its value.
    Source: Cochran 1977, Sampling Techniques, section 6.5.
    """
    if groups is None:
        return values
    names, number = np.unique(groups, return_inverse=True)
    means = values.mean(1, keepdims=True)
    sums = np.stack([np.bincount(number, row, len(names)) for row in values - means])
    return np.asarray(means + sums * (len(names) / values.shape[1]))


def unit_degrees(groups: NDArray[np.int64] | None) -> float | None:
    """Degrees of freedom of a variance between groups of these sizes, None if images are not grouped.

    groups: (N,). G - 1 for groups of one size, fewer the more they differ; see insight.groups.variance_between.
    """
    if groups is None:
        return None
    sizes = sums_by_unit(np.ones((len(groups), 1)), groups)
    return variance_between(np.zeros_like(sizes), sizes)[1] if len(sizes) > 1 else 1.0


def expected_by_setting(settings: Sequence[Scores]) -> list[Prior]:
    """For each setting, the prior from all settings of its kind, with equally many seeds and of the same part."""
    return _expected([s.values for s in settings], [(number,) for number in range(len(settings))], settings)


def compare(settings: Sequence[Scores], expected: Sequence[Prior]) -> list[Compared]:
    """All pairs of settings of a part. expected: of `expected_by_setting`.

    Two settings of one kind are compared seed by seed, over their common seeds. For two kinds, or with no seed in
    common, the variances of both means add, each with its own degrees of freedom; with one seed on a side only a common
    seed can be compared.
    """
    paired, unpaired = [], []
    for a, b in itertools.combinations(range(len(settings)), 2):
        one, other = settings[a], settings[b]
        common = [seed for seed in one.seeds if seed in other.seeds]
        single = min(len(one.seeds), len(other.seeds)) == 1
        if one.part == other.part and common and (one.kind == other.kind or single):
            paired.append((a, b, common))
        elif one.part == other.part and not single:
            unpaired.append((a, b))
    uncertainties = {(a, b): (_unpaired(settings, expected, a, b), False) for a, b in unpaired}
    rows = [(_rows(settings[a], common), _rows(settings[b], common)) for a, b, common in paired]
    values = [
        settings[a].values[of_a] - settings[b].values[of_b]
        for (a, b, _), (of_a, of_b) in zip(paired, rows, strict=True)
    ]
    priors = _expected(values, [(a, b) for a, b, _ in paired], settings)
    for (a, b, _), (of_a, of_b), paired_values, expected_of_pair in zip(paired, rows, values, priors, strict=True):
        right_a, right_b = settings[a].correct, settings[b].correct
        least = 0.0 if right_a is None or right_b is None else least_of_pair(right_a[of_a], right_b[of_b])
        uncertainties[a, b] = uncertainty(paired_values, expected_of_pair, least, settings[a].degrees), True
    pairs = sorted(uncertainties)
    overs = [uncertainties[pair][0].over for pair in pairs]
    p_values = corrected([over.p_value for over in overs])
    return [
        Compared(a, b, uncertainty=uncertainties[a, b][0], over=over, p_holm=p, is_paired=uncertainties[a, b][1])
        for (a, b), over, p in zip(pairs, overs, p_values, strict=True)
    ]


def _unpaired(settings: Sequence[Scores], expected: Sequence[Prior], a: int, b: int) -> Uncertainty:
    one, other = settings[a], settings[b]
    right_a, right_b = one.correct, other.correct
    least = 0.0 if right_a is None or right_b is None else least_of_pair(right_a, right_b, paired=False)
    return uncertainty_unpaired(one.values, other.values, (expected[a], expected[b]), least, one.degrees)


def _rows(scores: Scores, common: Sequence[int]) -> list[int]:
    return [scores.seeds.index(seed) for seed in common]


def _expected(
    values: Sequence[NDArray[np.float64]], members_of: Sequence[tuple[int, ...]], settings: Sequence[Scores]
) -> list[Prior]:
    """For each of the values, of one setting or of two of one kind, the prior from all similar ones together."""
    alike: dict[tuple[float, str, int], list[int]] = {}
    for index, (members, rows_of_values) in enumerate(zip(members_of, values, strict=True)):
        first = settings[members[0]]
        if len({settings[number].kind for number in members}) == 1:
            alike.setdefault((first.part, first.kind, len(rows_of_values)), []).append(index)
    priors = [NOTHING_KNOWN] * len(values)
    for (_, _, seeds), rows in alike.items():
        if seeds == 1:
            continue
        names = {number for index in rows for number in members_of[index]}
        independent = len(names) - (len(members_of[0]) - 1)  # the differences of C settings are made of C - 1
        shared = prior(np.array([seed_variance(values[index]) for index in rows]), seeds - 1, independent)
        for index in rows:
            priors[index] = shared
    return priors
