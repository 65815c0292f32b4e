"""How good a classifier is, over all images and class by class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.insight.bootstrap import Floats, interval, intervals
from snellen.insight.proportions import Interval, wilson


@dataclass(frozen=True)
class ClassFigures:
    """Of one class: its images, the share of them found (recall), the share of its predictions that are right."""

    support: int
    recall: float
    recall_interval: Interval | None
    precision: float
    f1: float


@dataclass(frozen=True)
class Figures:
    """Over N images. top1, top5 and their intervals; balanced: mean recall over classes; macro_f1: mean F1.

    top5 is None where there are five classes or fewer. Classes without a scored image are left out of the means.
    """

    images: int
    correct: int
    top1: float
    top1_interval: Interval
    top5: float | None
    top5_interval: Interval | None
    balanced: float
    balanced_interval: Interval
    macro_f1: float
    macro_f1_interval: Interval
    classes: list[ClassFigures]


def figures(
    probabilities: NDArray[np.float32],
    target: NDArray[np.int64],
    groups: NDArray[np.int64] | None = None,
    predicted: NDArray[np.int64] | None = None,
    correct: NDArray[np.bool_] | None = None,
) -> Figures:
    """Everything from counts over images.

    probabilities: (N, C). target: (N,) int64 in [0, C). groups: (N,) int64; with them all intervals are bootstrapped
    over groups, else top-1, top-5 and recalls are Wilson's and the means are bootstrapped over images. predicted: (N,)
    in [0, C), in place of the most probable classes in all but top-5. correct: (N,), for top-1 in their place.
    """
    images, classes = probabilities.shape
    chosen = probabilities.argmax(1) if predicted is None else predicted
    right = chosen == target if correct is None else correct
    hit: Floats = np.zeros((images, classes))
    hit[np.arange(images), target] = chosen == target  # true positives
    is_class: Floats = np.eye(classes)[target]
    is_chosen: Floats = np.eye(classes)[chosen]

    def recalls(weights: Floats) -> Floats:
        return _ratio(weights @ hit, weights @ is_class)

    def f1s(weights: Floats) -> Floats:
        scores = _ratio(2 * (weights @ hit), weights @ is_class + weights @ is_chosen)
        return np.where(weights @ is_class > 0, scores, np.nan)

    def balanced(weights: Floats) -> Floats:
        return np.asarray(np.nanmean(recalls(weights), axis=1))

    def macro(weights: Floats) -> Floats:
        return np.asarray(np.nanmean(f1s(weights), axis=1))

    def share(flags: NDArray[np.bool_]) -> Interval:
        if groups is None:
            return wilson(int(flags.sum()), images)
        return interval(lambda weights: (weights @ flags) / weights.sum(1), images, groups)

    ones: Floats = np.ones((1, images))
    recall, f1 = recalls(ones)[0], f1s(ones)[0]
    precision = _ratio(ones @ hit, ones @ is_chosen)[0]
    support = is_class.sum(0).astype(int)
    if groups is None:
        recall_ranges = [wilson(int(hit[:, c].sum()), int(support[c])) if support[c] else None for c in range(classes)]
    else:
        found = intervals(recalls, images, groups)
        recall_ranges = [found[c] if support[c] else None for c in range(classes)]
    per_class = [
        ClassFigures(
            int(support[c]),
            float(recall[c]),
            recall_ranges[c],
            float(precision[c]),
            float(f1[c]),
        )
        for c in range(classes)
    ]
    in_top5 = top_k_correct(probabilities, target, 5) if classes > 5 else None
    return Figures(
        images=images,
        correct=int(right.sum()),
        top1=float(right.mean()),
        top1_interval=share(right),
        top5=None if in_top5 is None else float(in_top5.mean()),
        top5_interval=None if in_top5 is None else share(in_top5),
        balanced=float(balanced(ones)[0]),
        balanced_interval=interval(balanced, images, groups),
        macro_f1=float(macro(ones)[0]),
        macro_f1_interval=interval(macro, images, groups),
        classes=per_class,
    )


def top_k_correct(probabilities: NDArray[np.float32], target: NDArray[np.int64], k: int) -> NDArray[np.bool_]:
    """(N,) whether the right class is among the k most probable; ties go against it."""
    own = probabilities[np.arange(len(target)), target]
    ahead = (probabilities >= own[:, None]).sum(1) - 1
    return np.asarray(ahead < k)


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(denominator > 0, numerator / denominator, np.nan)
