"""How good predicted masks are, from counts of pixels by image."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.insight.bootstrap import Floats, intervals, resamples, two_sided
from snellen.insight.proportions import Interval

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class MaskClassFigures:
    """Of one class: share of the scored pixels that are it; IoU, Dice, recall, precision, boundary F-score.

    NaN (and no interval) where the class is in neither truth nor prediction; recall where it is not in the truth,
    precision where it is never predicted.
    """

    share: float
    iou: float
    iou_interval: Interval | None
    dice: float
    recall: float
    precision: float
    boundary_f: float


@dataclass(frozen=True)
class MaskFigures:
    """Over N images. Means over the classes that are in the truth or in the prediction of any image.

    Everything is a division of sums over images, with its 95% interval by bootstrap over images or groups.
    """

    images: int
    miou: float
    miou_interval: Interval
    pixel_accuracy: float
    pixel_accuracy_interval: Interval
    dice: float
    dice_interval: Interval
    boundary_f: float
    boundary_f_interval: Interval
    classes: list[MaskClassFigures]


@dataclass(frozen=True)
class PairedMasks:
    """difference: mIoU of A minus that of B, with its 95% interval. p_value: two-sided, of no difference.

    better_a, better_b: images on which A's, B's mIoU is the higher one. total: images. method: of interval and p-value.
    """

    difference: float
    interval: Interval
    p_value: float
    better_a: int
    better_b: int
    total: int
    method: str


def counts_of(confusion: Counts) -> Counts:
    """(…, C, 3) true positive, false positive, false negative pixels, from (…, C, C) pixels by [truth, prediction]."""
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    return np.stack([right, confusion.sum(-2) - right, confusion.sum(-1) - right], axis=-1)


def iou(counts: NDArray[np.int64] | NDArray[np.uint32] | Floats) -> Floats:
    """(…, C) intersection over union from (…, C, 3) counts; NaN for a class without any pixel."""
    return _ratio(counts[..., 0], counts[..., 0] + counts[..., 1] + counts[..., 2])


def mean_over_classes(values: Floats) -> Floats:
    """(…,) means of (…, C), classes that are NaN left out; NaN where all are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # "mean of empty slice"
        return np.asarray(np.nanmean(values, axis=-1))


def miou(confusion: Counts) -> float:
    """Of a set of images: from the sum of their (N, C, C) confusion matrices, absent classes left out."""
    return float(mean_over_classes(iou(counts_of(confusion.sum(0)))))


def by_image(confusion: Counts) -> tuple[Floats, Floats]:
    """(N,) mIoU and (N,) pixel accuracy of each image by itself; NaN where nothing of it is scored."""
    counts = counts_of(confusion)
    return mean_over_classes(iou(counts)), _ratio(counts[..., 0].sum(-1), confusion.sum((-2, -1)))


def mask_figures(
    counts: Counts, boundary: Counts, groups: NDArray[np.int64] | None = None, seed: int = 0
) -> MaskFigures:
    """All figures of one run.

    counts: (N, C, 3) as `counts_of`. boundary: (N, C, 4) predicted boundary pixels, of these matched, true ones, of
    these matched. groups: (N,); whole groups are resampled then.
    """
    images, classes = counts.shape[:2]
    flat = counts.reshape(images, -1).astype(np.float64)  # (N, 3 C)
    edges = boundary.reshape(images, -1).astype(np.float64)  # (N, 4 C)

    def statistics(weights: Floats) -> Floats:
        """(r, 4 + C): mIoU, pixel accuracy, mean Dice, mean boundary F, then each class's IoU."""
        summed = (weights @ flat).reshape(len(weights), classes, 3)
        each = iou(summed)
        right = summed[..., 0].sum(1)
        accuracy = _ratio(right, right + summed[..., 2].sum(1))
        f_score = _boundary_f((weights @ edges).reshape(len(weights), classes, 4))
        means = [mean_over_classes(each), accuracy, mean_over_classes(_dice(summed)), mean_over_classes(f_score)]
        return np.column_stack([*means, each])

    values = statistics(np.ones((1, images)))[0]
    ranges = intervals(statistics, images, groups, seed)
    total = flat.sum(0).reshape(classes, 3)
    dice, f_score = _dice(total), _boundary_f(edges.sum(0).reshape(classes, 4))
    recall = _ratio(total[:, 0], total[:, 0] + total[:, 2])
    precision = _ratio(total[:, 0], total[:, 0] + total[:, 1])
    share = _ratio(total[:, 0] + total[:, 2], total[:, [0, 2]].sum())
    per_class = [
        MaskClassFigures(
            share=float(share[c]),
            iou=float(values[4 + c]),
            iou_interval=None if np.isnan(values[4 + c]) else ranges[4 + c],
            dice=float(dice[c]),
            recall=float(recall[c]),
            precision=float(precision[c]),
            boundary_f=float(f_score[c]),
        )
        for c in range(classes)
    ]
    return MaskFigures(
        images=images,
        miou=float(values[0]),
        miou_interval=ranges[0],
        pixel_accuracy=float(values[1]),
        pixel_accuracy_interval=ranges[1],
        dice=float(values[2]),
        dice_interval=ranges[2],
        boundary_f=float(values[3]),
        boundary_f_interval=ranges[3],
        classes=per_class,
    )


def paired_masks(
    counts_a: Counts, counts_b: Counts, groups: NDArray[np.int64] | None = None, seed: int = 0
) -> PairedMasks:
    """Two runs on the same images: the difference of their mIoU, by bootstrap over images (or groups) for both at once.

    counts_a, counts_b: (N, C, 3) as `counts_of`, of the same images and classes.
    """
    images, classes = counts_a.shape[:2]
    both = [counts.reshape(images, -1).astype(np.float64) for counts in (counts_a, counts_b)]

    def difference(weights: Floats) -> Floats:
        a, b = (mean_over_classes(iou((weights @ each).reshape(len(weights), classes, 3))) for each in both)
        return a - b

    draws = np.concatenate([difference(weights) for weights in resamples(images, groups, seed)])
    low, high = np.nanquantile(draws, [0.025, 0.975])
    a, b = mean_over_classes(iou(counts_a)), mean_over_classes(iou(counts_b))
    method = f"paired bootstrap over {'images' if groups is None else 'groups'}"
    return PairedMasks(
        difference=float(difference(np.ones((1, images)))[0]),
        interval=Interval(float(low), float(high)),
        p_value=two_sided(draws),
        better_a=int((a > b).sum()),
        better_b=int((b > a).sum()),
        total=images,
        method=method,
    )


def miou_by_unit(counts: Counts, groups: NDArray[np.int64] | None = None) -> Floats:
    """(U,) a value for each image, or group of images, whose mean is the mIoU: its jackknife pseudo-values.

    counts: (N, C, 3) as `counts_of`. A mIoU is no mean over images, so what an image contributes is U times the mIoU
    minus (U - 1) times that without it; moved by a constant so that the mean is the mIoU itself. Their variance is that
    of the mIoU to first order. Source: Tukey 1958, Ann Math Stat 29:614; Miller 1974, Biometrika 61:1.
    """
    counts = counts.astype(np.float64)
    if groups is not None:
        names, number = np.unique(groups, return_inverse=True)
        summed = np.zeros((len(names), *counts.shape[1:]))
        np.add.at(summed, number, counts)
        counts = summed
    units, total = len(counts), counts.sum(0)
    whole = float(mean_over_classes(iou(total)))
    pseudo = units * whole - (units - 1) * mean_over_classes(iou(total - counts))
    return np.asarray(pseudo - np.nanmean(pseudo) + whole)


def _dice(counts: Floats) -> Floats:
    return _ratio(2 * counts[..., 0], 2 * counts[..., 0] + counts[..., 1] + counts[..., 2])


def _boundary_f(edges: Floats) -> Floats:
    """(…, C) F-score from (…, C, 4); NaN for a class without boundary, 0 where only one of the two masks has one."""
    precision, recall = _ratio(edges[..., 1], edges[..., 0]), _ratio(edges[..., 3], edges[..., 2])
    score = np.nan_to_num(_ratio(2 * precision * recall, precision + recall))
    return np.where(edges[..., 0] + edges[..., 2] > 0, score, np.nan)


def _ratio(numerator: NDArray[np.generic], denominator: NDArray[np.generic]) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(denominator > 0, numerator / denominator, np.nan)  # type: ignore[operator]
