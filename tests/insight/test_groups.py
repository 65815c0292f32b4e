"""Variance between groups against dense matrices, scipy's t test and hand-worked cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import linalg, stats

from snellen.insight.classification import figures
from snellen.insight.groups import (
    group_numbers,
    mean_difference,
    share,
    sums_by_unit,
    variance_between,
    why_no_interval,
)
from snellen.insight.paired import paired_by_group
from snellen.insight.sentence import verdict


def test_an_image_without_a_group_is_a_group_by_itself() -> None:
    assert group_numbers([None, "", None]) is None
    numbers = group_numbers(["a", None, "b", "a", "", "image 1"])
    assert numbers is not None
    assert numbers[0] == numbers[3]
    assert len(set(numbers.tolist())) == 5


def by_matrices(right: NDArray[np.bool_], target: NDArray[np.int64], groups: NDArray[np.int64]) -> tuple[float, float]:
    """CR2 variance of the mean over classes of the shares right, and Bell & McCaffrey's degrees, by N x N matrices."""
    classes = np.unique(target)
    design = (target[:, None] == classes).astype(float)
    inverse = np.linalg.inv(design.T @ design)
    contrast = np.full(len(classes), 1 / len(classes))
    hat = design @ inverse @ design.T
    residual = np.eye(len(right)) - hat
    terms = []
    for group in np.unique(groups):
        is_member = groups == group
        root = linalg.fractional_matrix_power(residual[np.ix_(is_member, is_member)], -0.5).real
        terms.append(residual[:, is_member] @ root @ design[is_member] @ inverse @ contrast)
    vectors = np.array(terms)  # (G, N): each row times y is one group's part
    parts = vectors @ right
    expected = vectors @ vectors.T
    return float((parts**2).sum()), float(np.trace(expected) ** 2 / (expected**2).sum())


@pytest.mark.parametrize("classes", [1, 3])
def test_variance_and_degrees_are_those_of_the_matrices(classes: int) -> None:
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(5), [3, 5, 8, 12, 20])
    target = generator.integers(0, classes, len(groups))
    right = generator.random(len(groups)) < 0.6
    expected = by_matrices(right, target, groups)
    is_class = np.eye(classes)[target]
    table = sums_by_unit(np.hstack([is_class * right[:, None], is_class]), groups)
    actual = variance_between(*np.split(table, 2, axis=1))
    assert actual == pytest.approx(expected, rel=1e-9)


def test_groups_of_one_size_are_a_t_test_of_their_means() -> None:
    means = np.array([0.9, 0.4, 0.6, 0.7])
    variance, degrees = variance_between(20 * means[:, None], np.full((4, 1), 20.0))
    assert variance == pytest.approx(means.var(ddof=1) / 4)
    assert degrees == pytest.approx(3)


def test_a_class_of_one_group_counts_as_one_observation() -> None:
    """Two classes, one of which is in the first group only: (m (1 - m)) / 4 is added to the other one's variance."""
    hits, images = np.array([[3.0, 4], [6, 0], [8, 0]]), np.array([[10.0, 5], [10, 0], [10, 0]])
    single_variance, _ = variance_between(hits[:, :1], images[:, :1])
    mean = (17 / 30 + 4 / 5) / 2
    assert variance_between(hits, images)[0] == pytest.approx(single_variance / 4 + mean * (1 - mean) / 4)


def test_the_paired_test_is_scipys_for_many_groups_of_one_size() -> None:
    generator = np.random.default_rng(3)
    groups = np.repeat(np.arange(40), 25)
    a, b = (generator.random(1000) < generator.beta(4, 2, 40)[groups] for _ in range(2))
    test = paired_by_group(a, b, groups)
    means = (a.astype(float) - b).reshape(40, 25).mean(1)
    expected = stats.ttest_1samp(means, 0)
    bounds = expected.confidence_interval(0.95)
    assert test.interval is not None
    assert test.p_value is not None
    assert (test.interval.low, test.interval.high) == pytest.approx((bounds.low, bounds.high), abs=2e-3)
    assert test.p_value == pytest.approx(expected.pvalue, abs=0.01)
    assert test.method == "t test between groups"


@example([(True, False, group) for group in range(3)])
@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 5)), min_size=3, max_size=80))
def test_interval_and_p_value_never_disagree(images: list[tuple[bool, bool, int]]) -> None:
    a, b, groups = (np.array(column) for column in zip(*images, strict=True))
    result = mean_difference(a.astype(float) - b, groups)
    assert (result is None) == (len(set(groups.tolist())) < 3)
    if result is not None:
        interval, p_value = result
        assert interval.low < interval.high
        assert 0 <= p_value <= 1
        assert (p_value < 0.05) == (interval.low > 0 or interval.high < 0)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=3, max_size=80))
def test_a_share_lies_in_an_interval_that_has_a_width(images: list[tuple[bool, int]]) -> None:
    right, groups = (np.array(column) for column in zip(*images, strict=True))
    interval = share(right, groups)
    if len(set(groups.tolist())) < 3:
        assert interval is None
        return
    assert interval is not None
    assert 0 <= interval.low <= right.mean() <= interval.high <= 1
    assert interval.high - interval.low > 0.05
    relabelled = share(right, 100 - 7 * groups)
    assert relabelled is not None
    assert (relabelled.low, relabelled.high) == pytest.approx((interval.low, interval.high))


def test_groups_that_are_alike_by_chance_are_no_more_certain_than_their_images() -> None:
    """Three groups of 20, 15 of each right: no variance between them; Wilson's limits for 60 images are .628, .842."""
    interval = share(np.tile(np.arange(20) < 15, 3), np.repeat(np.arange(3), 20))
    assert interval is not None
    assert interval.low < 0.66
    assert interval.high > 0.82


def test_fewer_than_three_groups_have_no_interval_and_no_test() -> None:
    assert why_no_interval(None) is None
    assert why_no_interval(np.array([4, 4])) == "only 1 group"
    assert why_no_interval(np.array([4, 7, 4])) == "only 2 groups"
    assert why_no_interval(np.array([4, 7, 1])) is None
    probabilities, target = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]], np.array([0, 1, 2, 1])
    groups = np.array([0, 0, 1, 1])
    result = figures(probabilities, target, groups)
    assert (result.top1_interval, result.balanced_interval, result.macro_f1_interval) == (None, None, None)
    assert result.no_interval == "only 2 groups"
    assert [entry.recall_interval for entry in result.classes] == [None, None, None]
    test = paired_by_group(np.array([True, True, True, False]), np.array([True, False, True, True]), groups)
    assert (test.interval, test.p_value, test.why_no_test) == (None, None, "only 2 groups")
    assert verdict("old", "new", test) == (
        "old and new are not compared: only 2 groups. On 4 images the difference is +0.0 points."
    )


def test_a_recall_needs_three_groups_of_its_class() -> None:
    target = np.array([0, 1, 0, 1, 0, 0])
    result = figures(np.eye(2, dtype=np.float32)[target], target, np.array([0, 0, 1, 1, 2, 3]))
    assert result.classes[0].recall_interval is not None
    assert result.classes[1].recall_interval is None
    assert result.balanced_interval is not None
