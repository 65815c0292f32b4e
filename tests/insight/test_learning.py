"""What counts as not having learnt, on cases worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from snellen.insight.classification import figures
from snellen.insight.learning import why_diverged, why_features_not_learnt, why_masks_not_learnt, why_not_learnt
from snellen.insight.proportions import Interval, wilson

NAMES = ["cat", "dog", "owl"]


def verdict(target: list[int], predicted: list[int]) -> str | None:
    truth, answers = np.array(target), np.array(predicted)
    right = int((truth == answers).sum())
    return why_not_learnt(answers, truth, wilson(right, len(truth)), NAMES)


def test_one_class_for_all_images_is_named() -> None:
    reason = verdict([0] * 60 + [1] * 40, [1] * 100)
    assert reason == "it gives the class dog to 100 of 100 images"


def test_the_interval_must_lie_above_the_share_of_the_largest_class() -> None:
    target = [0] * 50 + [1] * 50
    # Wilson by hand: 59 of 100 is .492 to .681 (around the share, 0.5), 60 of 100 is .502 to .691
    assert verdict(target, [0] * 50 + [0] * 41 + [1] * 9) == (
        "its 95% interval, 49.2 to 68.1, is not above 50.0%, the share of the largest class (cat)"
    )
    assert verdict(target, [0] * 50 + [0] * 40 + [1] * 10) is None
    worse_answer = verdict(target, [1] * 50 + [0] * 50)
    assert worse_answer is not None
    assert "0.0 to 3.7" in worse_answer


def test_too_few_images_do_not_count_against_a_run() -> None:
    assert verdict([0, 0, 0, 1, 2], [0, 0, 0, 1, 2]) is None  # all right; Wilson's 57% is below 60%
    assert verdict([0, 0, 0, 1, 2], [0, 0, 0, 1, 1]) is None  # no five images would show it
    assert verdict([0, 0, 0, 1, 2], [0, 0, 0, 0, 0]) == "it gives the class cat to 5 of 5 images"
    assert verdict([1], [1]) is None
    assert verdict([1], [0]) is None
    assert verdict([2] * 30, [2] * 29 + [0]) is None  # one class among the scored images


def test_a_rare_class_that_is_recognised_is_learnt() -> None:
    assert verdict([0] * 1990 + [1] * 10, [0] * 1990 + [1] * 10) is None


def test_groups_widen_the_interval_that_is_used() -> None:
    """70 of 100 right over 50% in four groups, one of which is all wrong: not above, though it is by Wilson."""
    target = np.array([0] * 50 + [1] * 50)
    groups = np.array([0] * 25 + [1] * 25 + [2] * 25 + [3] * 25)
    predicted = target.copy()
    predicted[:30] = 1
    probabilities = np.eye(3, dtype=np.float32)[predicted]
    interval = figures(probabilities, target).top1_interval
    grouped = figures(probabilities, target, groups).top1_interval
    assert why_not_learnt(predicted, target, interval, NAMES) is None
    assert why_not_learnt(predicted, target, grouped, NAMES) is not None


def test_without_an_interval_only_the_figure_itself_is_judged() -> None:
    """Two groups: no interval. At or below the share of the largest class is not learnt; above it, no verdict."""
    target = np.array([0] * 50 + [1] * 50)
    for right_of_one, reason in (
        (0, "its top-1, 50.0%, is not above 50.0%, the share of the largest class (cat)"),
        (1, None),
    ):
        predicted = np.array([0] * 45 + [1] * 5 + [1] * (5 + right_of_one) + [0] * (45 - right_of_one))
        assert why_not_learnt(predicted, target, None, NAMES) == reason
    assert why_not_learnt(np.zeros(100, np.int64), target, None, NAMES) == "it gives the class cat to 100 of 100 images"


def test_masks_of_one_class_and_masks_at_the_constant_answer() -> None:
    constant = np.array([[[80, 0, 0], [20, 0, 0], [0, 0, 0]]])
    assert why_masks_not_learnt(constant, Interval(0.4, 0.4), NAMES) == "it gives the class cat to 100.0% of the pixels"
    # "cat" everywhere: IoU .8 and 0, the absent owl in no mean: mIoU .4
    confusion = np.array([[[70, 10, 0], [15, 5, 0], [0, 0, 0]]])
    reason = why_masks_not_learnt(confusion, Interval(0.39, 0.6), NAMES)
    assert (
        reason
        == "the 95% interval of its mIoU, 39.0 to 60.0, is not above 40.0%, the mIoU of predicting cat everywhere"
    )
    assert why_masks_not_learnt(confusion, Interval(0.41, 0.6), NAMES) is None
    assert why_masks_not_learnt(confusion, None, NAMES) is None
    assert why_masks_not_learnt(np.array([[[90, 10], [0, 0]]]), Interval(0.4, 0.5), NAMES[:2]) is None
    assert why_masks_not_learnt(np.array([[[999, 0], [0, 1]]]), Interval(0.4, 1), NAMES[:2]) is None


def test_features_that_are_no_better_than_at_the_start() -> None:
    assert why_features_not_learnt(0.3, 0.3) == "its k-NN top-1, 30.0%, is no better than before the first step, 30.0%"
    assert why_features_not_learnt(0.31, 0.3) is None
    assert why_features_not_learnt(0.31, None) is None


@pytest.mark.parametrize(("losses", "classes", "diverged"), [
    ([2.3, 2.0], 10, False), ([2.3, 90.0], 2, False), ([2.3, 101.0], 2, True), ([1e12, 2.0], 10, False),
    ([2.3, 231.0], 10, True), ([2.3, 229.0], 10, False), ([2.3, 1e12, float("nan")], 10, True), ([], 10, False),
    ([float("nan")], 10, False),
])  # fmt: skip
def test_a_loss_far_above_that_of_equal_probabilities_has_diverged(
    losses: list[float], classes: int, diverged: bool
) -> None:
    """100 times ln C, at least 100: 230.3 for ten classes."""
    assert (why_diverged(losses, classes) is not None) == diverged
