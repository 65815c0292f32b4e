"""The debiased calibration error against the published estimator, products by hand, and what its interval promises."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from snellen.insight.calibration import calibration, calibration_error
from snellen.insight.proportions import Interval


def kumar(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Square of the error by Kumar, Liang & Ma 2019, for confidences of which each is a bin of its own."""
    square = 0.0
    for value in np.unique(confidence):
        is_equal = right[confidence == value]
        accuracy, images = is_equal.mean(), len(is_equal)
        square += images / len(right) * ((accuracy - value) ** 2 - accuracy * (1 - accuracy) / (images - 1))
    return square


def test_with_one_confidence_a_bin_it_is_the_published_estimator() -> None:
    generator = np.random.default_rng(0)
    confidence = np.repeat(np.linspace(0.3, 0.97, 15), 20)
    right = generator.random(300) < np.clip(confidence - 0.15, 0, 1)
    error, _ = calibration_error(confidence, right)
    assert error is not None
    assert error**2 == pytest.approx(kumar(confidence, right))


def test_a_worked_case() -> None:
    """Said 80%, right 5 of 10: .3^2 less .25 / 9; said 90%, right 9 of 10: no gap, 0 less .09 / 9."""
    confidence = np.repeat([0.8, 0.9], 10)
    right = np.array([True] * 5 + [False] * 5 + [True] * 9 + [False])
    error, interval = calibration_error(confidence, right)
    assert error == pytest.approx(math.sqrt((0.09 - 0.25 / 9 - 0.01) / 2))
    assert interval is None


def test_groups_leave_out_products_within_them() -> None:
    """Pairs of images of different groups, counted one by one."""
    generator = np.random.default_rng(1)
    confidence, right, groups = np.full(12, 0.7), generator.random(12) < 0.3, np.repeat([0, 1, 2, 3], [2, 5, 1, 4])
    pairs = [pair for pair in itertools.permutations(range(12), 2) if groups[pair[0]] != groups[pair[1]]]
    gap = right - confidence
    expected = np.mean([gap[i] * gap[j] for i, j in pairs])
    error, _ = calibration_error(confidence, right, groups)
    assert error == pytest.approx(math.sqrt(expected))


def test_equal_confidences_stay_in_one_bin_in_any_order() -> None:
    """Sorted by whether they are right, images of one confidence would make bins that are all right or all wrong."""
    confidence, right = np.full(400, 0.75), np.arange(400) < 300
    error, interval = calibration_error(confidence, right)
    assert error == 0
    assert interval is not None
    assert interval.low == 0


def draw(generator: np.random.Generator, images: int, gap: float) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    chance = generator.uniform(0.4, 0.8, images)
    return chance + gap, generator.random(images) < chance


def test_the_interval_tells_calibrated_from_overconfident() -> None:
    generator = np.random.default_rng(2)
    error, calibrated = calibration_error(*draw(generator, 2000, 0.0))
    assert calibrated is not None
    assert calibrated.low == 0 < calibrated.high < 0.08
    error, overconfident = calibration_error(*draw(generator, 2000, 0.15))
    assert error is not None
    assert overconfident is not None
    assert 0.10 < overconfident.low < error < overconfident.high < 0.20
    assert error == pytest.approx(0.15, abs=0.03)


def test_without_bias_and_inside_the_interval() -> None:
    """300 calibrated networks: the squares average to 0 before they are cut off there, so half of them are 0."""
    generator = np.random.default_rng(3)
    results = [calibration_error(*draw(generator, 250, 0.0)) for _ in range(300)]
    assert np.mean([error == 0 for error, _ in results]) == pytest.approx(0.55, abs=0.1)
    for error, interval in results:
        assert interval is not None
        assert error is not None
        assert interval.low <= error <= interval.high
        assert interval.high > interval.low


def test_too_few_images_or_groups_have_no_interval() -> None:
    generator = np.random.default_rng(4)
    probabilities = generator.dirichlet(np.ones(3), 400).astype(np.float32)
    target = generator.integers(0, 3, 400)
    assert calibration(probabilities, target).no_interval is None
    few = calibration(probabilities[:199], target[:199])
    assert (few.error_interval, few.no_interval) == (None, "fewer than 200 images")
    two_groups = calibration(probabilities, target, np.arange(400) % 2)
    assert (two_groups.error_interval, two_groups.no_interval) == (None, "only 2 groups")
    assert all(bin_figures.accuracy_interval is None for bin_figures in two_groups.bins)
    single_image = calibration(probabilities[:1], target[:1])
    assert (single_image.error, single_image.error_interval) == (None, None)


def test_no_gap_at_all_still_has_a_width() -> None:
    """300 of 300 right, all said to be sure: Wilson's upper limit of the share wrong is 3.84 / (300 + 3.84)."""
    error, interval = calibration_error(np.ones(300), np.ones(300, dtype=bool))
    assert (error, interval) == (0, Interval(0, pytest.approx(3.84 / 300, rel=0.01)))
