"""Means over classes with few errors: hand-worked cases, the delta method against finite differences, corners."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import stats
from sklearn import metrics

from snellen.insight.classification import figures
from snellen.insight.macro import balanced_interval, macro_f1_interval, worth_balanced, worth_f1
from snellen.insight.proportions import Interval


def wilson_for(share: float, images: float) -> tuple[float, float]:
    """The textbook formula for a number of images that need not be whole."""
    z = 1.959963984540054
    centre = (share + z**2 / (2 * images)) / (1 + z**2 / images)
    half = z / (1 + z**2 / images) * math.sqrt(share * (1 - share) / images + z**2 / (4 * images**2))
    return centre - half, centre + half


def bounds(interval: Interval) -> tuple[float, float]:
    return interval.low, interval.high


def test_without_mistakes_both_have_wilsons_limits() -> None:
    """Classes of one size, all right: 50 of 50 is .929 to 1."""
    expected = stats.binomtest(50, 50).proportion_ci(method="wilson")
    confusion = np.diag([10] * 5)
    assert bounds(balanced_interval(confusion)) == pytest.approx((expected.low, expected.high))
    assert bounds(macro_f1_interval(confusion)) == pytest.approx((expected.low, expected.high), abs=0.003)


def test_balanced_accuracy_by_hand() -> None:
    """Recalls .9 of 10 and .8 of 40: variances .01 and .16 / 39, prior 2 / 32 images; worth 4 / (1/10 + 1/40) = 32."""
    assert worth_balanced(np.array([10.0, 40])) == pytest.approx(32)
    variance, mean, prior = (0.01 + 0.16 / 39) / 4, 0.85, 2 / 32
    expected = wilson_for(mean, (mean * (1 - mean) + prior) / (variance + prior / 32))
    assert bounds(balanced_interval(np.array([[9, 1], [8, 32]]))) == pytest.approx(expected)


@pytest.mark.parametrize(("classes", "images"), [(2, 25), (2, 2500), (10, 40), (10, 500)])
def test_one_class_predicted_for_all_images(classes: int, images: int) -> None:
    """Such a sample is not rare, 1 in 10, if an image of a class is an exception with probability 1 - 0.1^(1 / n).

    The balanced accuracy is then off 1 / C by that / C. Half the interval is 1.96 √2 / N for N images, near the rule
    of three.
    """
    confusion = np.zeros((classes, classes), np.int64)
    confusion[:, 0] = images
    interval = balanced_interval(confusion)
    off = (1 - 0.1 ** (1 / images)) / classes
    assert interval.low < 1 / classes - off
    assert interval.high > 1 / classes + off
    if images > 100:
        assert interval.high - interval.low == pytest.approx(2 * 1.96 * math.sqrt(2) / (classes * images), rel=0.05)


def test_macro_f1_has_the_variance_of_the_delta_method() -> None:
    """Against derivatives by finite differences, for so many images that what is added for few does not matter."""
    confusion = np.array([[7000, 2000, 1000], [500, 3000, 500], [200, 300, 1500]])

    def macro(counts: NDArray[np.float64]) -> float:
        return float((2 * np.diagonal(counts) / (counts.sum(0) + counts.sum(1))).mean())

    slope = np.zeros((3, 3))
    for cell in np.ndindex(3, 3):
        step = np.zeros((3, 3))
        step[cell] = 1e-3
        slope[cell] = (macro(confusion + step) - macro(confusion - step)) / 2e-3
    variance = (confusion * slope**2).sum() - (confusion * slope).sum() ** 2 / confusion.sum()
    value = macro(confusion.astype(float))
    expected = wilson_for(value, value * (1 - value) / variance)
    assert bounds(macro_f1_interval(confusion)) == pytest.approx(expected, abs=2e-5)


def test_mistakes_cost_f1_as_much_as_stated() -> None:
    """One of 1,000 images of each class taken for the other one: it costs 1 / 2n of both F1, and of their mean."""
    target = np.repeat([0, 1], 1000)
    predicted = target.copy()
    predicted[0] = 1
    assert 1 - metrics.f1_score(target, predicted, average="macro") == pytest.approx(1 / 2000, rel=1e-3)
    assert worth_f1(np.array([1000.0, 1000])) == pytest.approx(2000)
    assert worth_f1(np.array([1.0, 1000])) < 10


COUNTS = st.integers(1, 4).flatmap(lambda k: arrays(np.int64, (k, k), elements=st.integers(0, 30)))


@given(COUNTS.filter(lambda counts: counts.any()))
def test_the_figure_lies_in_an_interval_that_has_a_width(confusion: NDArray[np.int64]) -> None:
    target, predicted = (np.repeat(index.ravel(), confusion.ravel()) for index in np.indices(confusion.shape))
    result = figures(np.eye(len(confusion), dtype=np.float32)[predicted], target)
    for value, interval in ((result.balanced, result.balanced_interval), (result.macro_f1, result.macro_f1_interval)):
        assert interval is not None
        assert 0 <= interval.low <= value <= interval.high <= 1
        assert interval.high - interval.low > 1 / (10 * result.images)
