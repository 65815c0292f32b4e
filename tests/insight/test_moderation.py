"""Variances that borrow from one another: limma's figures, and what whole studies find with them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from snellen.insight.moderation import NOTHING_KNOWN, Prior, prior
from snellen.insight.seeds import seed_variance, uncertainty

# squeezeVar(variances, degrees) of R's limma 3.54.1: df.prior, var.prior, second and last but one var.post
LIMMA = (2.115189145, 1.180044361, 0.8009393755, 0.6308378381)
VARIANCES = np.array([1.2, 0.4, 2.5, 0.9, 14.0, 0.05, 3.3])


def test_degrees_and_moderation_are_limmas() -> None:
    result = prior(VARIANCES, 2, independent=100)
    assert result.degrees == pytest.approx(LIMMA[0])
    assert result.variance == pytest.approx(VARIANCES.mean())  # no less than the mean; limma's is LIMMA[1]
    as_limma = Prior(LIMMA[1], LIMMA[0])
    assert [as_limma.moderate(VARIANCES[index], 2) for index in (1, 5)] == pytest.approx(LIMMA[2:])
    # What is seen is not explained away (limma's is 7.41): as wide as a 90% interval from it alone.
    bound = stats.t.ppf(0.95, 2) / stats.t.ppf(0.975, 2 + LIMMA[0])
    assert as_limma.moderate(VARIANCES[4], 2) == pytest.approx(VARIANCES[4] * bound**2)
    assert NOTHING_KNOWN.moderate(3.0, 2) == 3.0


def test_variances_as_alike_as_by_chance_are_pooled() -> None:
    """limma says Inf and 1.02; here no more degrees than the other independent variances have."""
    result = prior(np.array([1.0, 1.3, 0.8, 1.1, 0.9]), 4, independent=5)
    assert (result.variance, result.degrees) == (pytest.approx(1.02), 16)


def test_a_variance_of_zero_among_others() -> None:
    result = prior(np.array([1.2, 0.0, 2.5, 0.9, 14.0]), 2, independent=100)
    assert result.degrees == pytest.approx(0.3768559758)  # limma's df.prior


@pytest.mark.parametrize("variances", [[], [1.0], [1.0, 2.0], [0.0, 0.0, 0.0], [0.0, 0.0, 3.0]])
def test_too_few_variances_give_no_prior(variances: list[float]) -> None:
    assert prior(np.array(variances), 2, independent=2) == NOTHING_KNOWN


def study(generator: np.random.Generator, seeds: int, spreads: np.ndarray, advantages: np.ndarray) -> list[np.ndarray]:
    """(S, N) differences of right and wrong of all pairs of settings whose seeds differ by so much in luck."""
    images = 200
    difficulty, shared = generator.normal(0.8, 1.0, images), generator.normal(0, 0.2, (seeds, 1))
    right = []
    for spread, advantage in zip(spreads, advantages, strict=True):
        level = shared + generator.normal(0, spread, (seeds, 1)) + advantage
        noise = generator.normal(0, 0.5, images) + generator.normal(0, 0.7, (seeds, images))
        right.append((difficulty + level + noise > 0).astype(float))
    return [a - b for a, b in itertools.combinations(right, 2)]


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("spreads", [[0.3] * 5, [0.15, 0.15, 0.15, 0.15, 0.6], [0.1, 0.14, 0.2, 0.28, 0.4], [0.3] * 3])
def test_coverage_and_false_alarms_of_whole_studies(seeds: int, spreads: list[float]) -> None:
    """1000 studies without differences, of settings with like and unlike seeds.

    The intervals hold the truth in 95% of all pairs, and one study in twenty at most finds anything by Holm.
    """
    generator = np.random.default_rng(seeds)
    repeats, settings = 1000, len(spreads)
    independent = settings - 1
    # of equal expectation: a setting whose seeds differ by more is right less often at the same level
    level = np.sqrt(1.74 + 0.04 + np.array(spreads) ** 2)
    advantages = 0.8 * level / level[0] - 0.8
    coverage, alarms = [], 0
    for _ in range(repeats):
        values = study(generator, seeds, np.array(spreads), advantages)
        expected = prior(np.array([seed_variance(setting_values) for setting_values in values]), seeds - 1, independent)
        result = [uncertainty(setting_values, expected).over for setting_values in values]
        coverage.append(np.mean([mean.interval.low <= 0 <= mean.interval.high for mean in result]))
        alarms += min(mean.p_value for mean in result) < 0.05 / len(result)  # where Holm's correction finds the first
    assert np.mean(coverage) > 0.95 - 3 * np.std(coverage) / math.sqrt(repeats)
    assert alarms / repeats < 0.05 + 3 * math.sqrt(0.05 * 0.95 / repeats)


def test_moderation_detects_more_from_the_same_runs() -> None:
    """Three seeds, one of five settings better: at Bonferroni's level, more is found than with each pair alone."""
    generator = np.random.default_rng(0)
    advantages = np.array([0.0, 0.0, 0.0, 0.0, 1.0])
    better = [index for index, (_, b) in enumerate(itertools.combinations(range(5), 2)) if b == 4]
    moderated_count = unmoderated_count = 0
    for _ in range(100):
        values = study(generator, 3, np.full(5, 0.1), advantages)
        expected = prior(np.array([seed_variance(setting_values) for setting_values in values]), 2, independent=4)
        moderated_count += sum(uncertainty(values[index], expected).over.p_value < 0.005 for index in better)
        unmoderated_count += sum(uncertainty(values[index]).over.p_value < 0.005 for index in better)
    assert moderated_count > 1.5 * unmoderated_count


def test_an_interval_is_that_of_the_moderated_t_test() -> None:
    """All images alike, so that all uncertainty is the seeds'."""
    levels, expected = np.array([[0.1], [0.3], [0.25]]), Prior(0.02, 4.0)
    result = uncertainty(np.tile(levels, (1, 50)), expected).over
    variance = (4 * 0.02 + 2 * levels.var(ddof=1)) / 6
    half = stats.t.ppf(0.975, 6) * math.sqrt(variance / 3)
    assert result.interval.high - result.mean == pytest.approx(half)
