"""Scores without leaked images."""

from __future__ import annotations

import numpy as np
import pytest

from snellen.insight.proportions import Interval
from snellen.insight.without_leaked import share_of, without_leaked


def counts(correct: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    return np.column_stack([correct, np.ones(len(correct))])


def test_a_case_by_hand() -> None:
    """8 of 10 right; of these, 4 leaked ones are right: 4 of 6 without them."""
    correct = np.array([1, 1, 1, 1, 1, 1, 1, 1, 0, 0], dtype=bool)
    leaked = np.arange(10) < 4
    result = without_leaked(counts(correct), leaked, share_of, None)
    assert result is not None
    assert (result.leaked, result.images) == (4, 6)
    assert result.value == pytest.approx(4 / 6)
    assert result.change == pytest.approx(4 / 6 - 0.8)
    assert "Without the 4 leaked images" in result.of_run("narrow", "top-1")
    assert "top-1 66.7%" in result.of_run("narrow", "top-1")
    assert "13.3 points less" in result.of_run("narrow", "top-1")
    assert without_leaked(counts(correct), leaked & False, share_of, None) is None
    assert without_leaked(counts(correct), leaked | True, share_of, None) is None


def test_a_difference_by_hand() -> None:
    """7 of 10 against 4 of 10; without the 4 leaked ones, which only the first has right, 3 of 6 against 4 of 6."""
    a = np.array([1, 1, 1, 1, 1, 1, 1, 0, 0, 0])
    b = np.array([0, 0, 0, 0, 1, 1, 0, 1, 1, 0])
    difference = np.column_stack([a - b, np.ones(10)])
    result = without_leaked(difference, np.arange(10) < 4, share_of, Interval(-0.6, 0.3))
    assert result is not None
    change = result.change_interval
    assert change.low < -1 / 6 - 0.3 < change.high
    assert result.of_difference("narrow", "wide") == (
        "Without the 4 leaked images, wide is ahead of narrow by 16.7 points (95% interval of narrow − wide: "
        f"−60.0 to +30.0); the difference changes by −46.7 points (95% interval −{-100 * change.low:.1f} to "
        f"−{-100 * change.high:.1f}, by resampling images)."
    )


def test_two_runs_that_are_level_without_them_score_the_same() -> None:
    """3 of 6 each without the leaked ones, which only the first has right."""
    a, b = np.array([1, 1, 1, 1, 1, 1, 1, 0, 0, 0]), np.array([0, 0, 0, 0, 1, 1, 0, 1, 0, 0])
    difference = np.column_stack([a - b, np.ones(10)])
    result = without_leaked(difference, np.arange(10) < 4, share_of, Interval(-0.4, 0.4))
    assert result is not None
    assert result.value == 0
    start = (
        "Without the 4 leaked images, narrow and wide score the same (95% interval of narrow − wide: −40.0 to +40.0);"
    )
    assert result.of_difference("narrow", "wide").startswith(start)
    assert "ahead" not in result.of_difference("narrow", "wide")


def test_the_interval_covers_the_true_change() -> None:
    """Images leak with probability 0.2; leaked ones are right with 0.95, others with 0.7: the change is -0.05."""
    generator, covered, draws = np.random.default_rng(0), 0, 200
    for _ in range(draws):
        leaked = generator.random(400) < 0.2
        correct = generator.random(400) < np.where(leaked, 0.95, 0.7)
        result = without_leaked(counts(correct), leaked, share_of, None)
        assert result is not None
        covered += result.change_interval.low <= -0.05 <= result.change_interval.high
    assert 0.90 <= covered / draws <= 0.99


def test_groups_are_resampled_as_wholes() -> None:
    """Ten copies of each image, as groups, have the interval of the images; taken as images, a narrower one."""
    generator = np.random.default_rng(1)
    leaked = generator.random(100) < 0.3
    correct = generator.random(100) < np.where(leaked, 0.95, 0.6)
    once = without_leaked(counts(correct), leaked, share_of, None)
    repeated = [np.repeat(values, 10, axis=0) for values in (counts(correct), leaked, np.arange(100))]
    groups = without_leaked(repeated[0], repeated[1], share_of, None, repeated[2])
    images = without_leaked(repeated[0], repeated[1], share_of, None)
    assert once is not None
    assert groups is not None
    assert images is not None
    widths = [r.change_interval.high - r.change_interval.low for r in (once, groups, images)]
    assert widths[1] == pytest.approx(widths[0], rel=0.1)
    assert widths[2] < 0.5 * widths[0]
