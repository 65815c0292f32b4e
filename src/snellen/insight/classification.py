"""Figures of a classifier, over all images and per class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.insight.groups import class_sums, mean_of_ratios, share, shares, why_no_interval
from snellen.insight.macro import balanced_interval, macro_f1_interval, worth_balanced, worth_f1
from snellen.insight.proportions import Interval, ratio, wilson


@dataclass(frozen=True)
class ClassFigures:
    """Figures of one class. support: its images. recall, precision, f1: shares in [0, 1].

    recall_interval: 95%; None without images, or for images of fewer than three groups.
    """

    support: int
    recall: float
    recall_interval: Interval | None
    precision: float
    f1: float


@dataclass(frozen=True)
class Figures:
    """Figures over N images. top1, top5 and their intervals; balanced: mean recall over classes; macro_f1: mean F1.

    top5 is None if there are five classes or fewer. Classes without a scored image are left out of the means.
    Intervals are None if the images come in too few groups; no_interval says so, such as "only 2 groups".
    """

    images: int
    correct: int
    top1: float
    top1_interval: Interval | None
    top5: float | None
    top5_interval: Interval | None
    balanced: float
    balanced_interval: Interval | None
    macro_f1: float
    macro_f1_interval: Interval | None
    classes: list[ClassFigures]
    no_interval: str | None = None


def figures(
    probabilities: NDArray[np.float32],
    target: NDArray[np.int64],
    groups: NDArray[np.int64] | None = None,
    predicted: NDArray[np.int64] | None = None,
    correct: NDArray[np.bool_] | None = None,
) -> Figures:
    """All figures, from counts over images.

    probabilities: (N, C). target: (N,) int64 in [0, C). groups: (N,) int64; with them all intervals come from the
    variance between groups (insight.groups), None if there are too few; else top-1, top-5 and recalls have Wilson's,
    and the means those of insight.macro. predicted: (N,) in [0, C), instead of the most probable classes in all but
    top-5. correct: (N,), instead of these for top-1.
    """
    images, classes = probabilities.shape
    prediction = probabilities.argmax(1) if predicted is None else predicted
    right = prediction == target if correct is None else correct
    in_top5 = top_k_correct(probabilities, target, 5) if classes > 5 else None
    counts = np.bincount(target * classes + prediction, minlength=classes**2).reshape(classes, classes)
    support, hit, predictions_of_class = counts.sum(1), np.diagonal(counts), counts.sum(0)
    recall, precision = ratio(hit, support), ratio(hit, predictions_of_class)
    f1 = np.where(support > 0, ratio(2 * hit, support + predictions_of_class), np.nan)
    if groups is None:
        recalls, of_balanced, of_macro_f1 = _intervals_of_images(counts)
    else:
        recalls, of_balanced, of_macro_f1 = _intervals_of_groups(prediction, target, classes, groups)
    return Figures(
        images=images,
        correct=int(right.sum()),
        top1=float(right.mean()),
        top1_interval=share(right, groups),
        top5=None if in_top5 is None else float(in_top5.mean()),
        top5_interval=None if in_top5 is None else share(in_top5, groups),
        balanced=float(np.nanmean(recall)),
        balanced_interval=of_balanced,
        macro_f1=float(np.nanmean(f1)),
        macro_f1_interval=of_macro_f1,
        classes=[
            ClassFigures(int(support[c]), float(recall[c]), recalls[c], float(precision[c]), float(f1[c]))
            for c in range(classes)
        ],
        no_interval=why_no_interval(groups),
    )


_Intervals = tuple[list[Interval | None], Interval | None, Interval | None]  # of recalls, balanced, macro F1


def _intervals_of_images(counts: NDArray[np.int64]) -> _Intervals:
    recalls = [wilson(int(row[c]), int(row.sum())) if row.any() else None for c, row in enumerate(counts)]
    return recalls, balanced_interval(counts), macro_f1_interval(counts)


def _intervals_of_groups(
    prediction: NDArray[np.int64], target: NDArray[np.int64], classes: int, groups: NDArray[np.int64]
) -> _Intervals:
    hit, support, predicted = class_sums(prediction, target, classes, groups)
    present = support.sum(0) > 0
    total, sizes = support.sum(0)[present], support.sum(1)
    return (
        shares(hit, support),
        mean_of_ratios(hit[:, present], support[:, present], worth_balanced(total), sizes),
        mean_of_ratios(2 * hit[:, present], (support + predicted)[:, present], worth_f1(total), sizes),
    )


def top_k_correct(probabilities: NDArray[np.float32], target: NDArray[np.int64], k: int) -> NDArray[np.bool_]:
    """(N,) whether the right class is among the k most probable; ties go against it."""
    of_target = probabilities[np.arange(len(target)), target]
    ahead = (probabilities >= of_target[:, None]).sum(1) - 1
    return np.asarray(ahead < k)
