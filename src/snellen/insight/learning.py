"""Whether a run has learnt anything: is it better than the best constant answer?"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from snellen.insight.proportions import Interval, percents, wilson
from snellen.insight.segmentation import Counts, iou, mean_over_classes
from snellen.words import counted

_ALMOST_ALL = 0.99
_HUGE = 100


def why_not_learnt(
    predicted: NDArray[np.int64], target: NDArray[np.int64], interval: Interval | None, names: Sequence[str]
) -> str | None:
    """Why a classifier counts as not having learnt, or None.

    predicted, target: (N,) int64 in [0, C). interval: 95%, of top-1; None if there are too few groups for one.
    names: of the C classes. A run has not learnt if it gives one class to more than 99% of the images, or if the
    interval reaches down to the share of the largest class, the score of a constant answer. Also None if nothing can
    be concluded: one class among the scored images, so few images that even a perfect run would not be above that
    share, or no interval and a top-1 above it.
    """
    images = len(target)
    support = np.bincount(target, minlength=len(names))
    largest = int(support.argmax())
    share = support[largest] / images
    if share == 1 or (predicted == target).all():
        return None
    answers = np.bincount(predicted, minlength=len(names))
    commonest = int(answers.argmax())
    low = float((predicted == target).mean()) if interval is None else interval.low
    if answers[commonest] > _ALMOST_ALL * images and low <= share:
        return f"it gives the class {names[commonest]} to {answers[commonest]:,} of {counted(images, 'image')}"
    if interval is None and low <= share:
        return f"its top-1, {low:.1%}, is not above {share:.1%}, the share of the largest class ({names[largest]})"
    if interval is not None and low <= share < wilson(images, images).low:
        return (
            f"its 95% interval, {percents(interval)}, is not above "
            f"{share:.1%}, the share of the largest class ({names[largest]})"
        )
    return None


def why_masks_not_learnt(
    confusion: Counts, interval: Interval | None, names: Sequence[str], classes: Sequence[int] | None = None
) -> str | None:
    """Why a segmenter counts as not having learnt, or None.

    confusion: (N, C, C) scored pixels by [truth, prediction]. names: of the C classes. interval: 95%, of mIoU, None
    if there is none; over the classes with these numbers, None for all that are present. A run has not learnt if it
    gives one class to more than 99% of the pixels, more than it has, or if the interval reaches down to the mIoU of
    always answering the commonest class. None if the truth has only one class.
    """
    total = confusion.sum(0)
    support, answers = total.sum(1), total.sum(0)
    pixels = int(support.sum())
    if np.count_nonzero(support) < 2 or np.trace(total) == pixels:
        return None
    over = np.arange(len(names)) if classes is None else np.asarray(classes)
    largest, commonest = int(over[support[over].argmax()]), int(answers.argmax())
    constant = np.zeros((len(names), 3))
    constant[:, 2] = support
    constant[largest] = support[largest], pixels - support[largest], 0
    baseline = float(mean_over_classes(iou(constant)[over]))
    if answers[commonest] > _ALMOST_ALL * pixels and answers[commonest] > support[commonest]:
        return f"it gives the class {names[commonest]} to {answers[commonest] / pixels:.1%} of the pixels"
    if interval is not None and interval.low <= baseline:
        part = "" if classes is None else f" over {counted(len(over), 'class', 'classes')}"
        return (
            f"the 95% interval of its mIoU{part}, {percents(interval)}, is not above "
            f"{baseline:.1%}, the mIoU of predicting {names[largest]} everywhere"
        )
    return None


def why_features_not_learnt(top1: float, at_start: float | None) -> str | None:
    """Why a pretraining counts as not having learnt, or None: k-NN top-1 no better than before the first step."""
    if at_start is None or top1 > at_start:
        return None
    return f"its k-NN top-1, {top1:.1%}, is no better than before the first step, {at_start:.1%}"


def why_diverged(losses: Sequence[float], classes: int) -> str | None:
    """Why a training whose losses are finite still counts as diverged, or None.

    losses: the mean loss of each epoch, NaN if there is none. classes: C; equal probabilities for all of them have a
    cross-entropy of ln C. The last loss counts: diverged is more than 100 times that, or 100.
    """
    finite = [loss for loss in losses if math.isfinite(loss)]
    uniform = math.log(max(2, classes))
    if not finite or finite[-1] <= _HUGE * max(1.0, uniform):
        return None
    return f"its final loss is {finite[-1]:.2g}; equal probabilities for all classes would give {uniform:.2g}"
