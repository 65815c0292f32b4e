"""Figures of predicted masks, from pixel counts per image."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.insight.groups import sums_by_unit
from snellen.insight.jackknife import Floats, degrees_of_freedom, pseudo_values, share_interval, t_interval
from snellen.insight.proportions import Interval, ratio
from snellen.insight.support import Support, support

Counts = NDArray[np.int64]
AnyCounts = NDArray[np.int64] | NDArray[np.uint32]


@dataclass(frozen=True)
class MaskClassFigures:
    """Figures of one class: its share of the scored pixels; IoU, Dice, recall, precision, boundary F-score.

    NaN if the class is in neither truth nor prediction; recall where it is not in the truth, precision where it is
    never predicted. images: with it in the truth. enough: whether these suffice for an interval.
    """

    share: float
    iou: float
    iou_interval: Interval | None
    dice: float
    recall: float
    precision: float
    boundary_f: float
    images: int
    enough: bool


@dataclass(frozen=True)
class CommonClasses:
    """Means over the classes, by number, that are in enough images, if others are not."""

    classes: tuple[int, ...]
    miou: float
    miou_interval: Interval | None
    dice: float
    dice_interval: Interval | None
    boundary_f: float
    boundary_f_interval: Interval | None


@dataclass(frozen=True)
class MaskFigures:
    """Figures over N images. Means over the classes in the truth or the prediction of any image.

    Every figure is a ratio of sums over images, with its 95% interval by the jackknife over images or groups. If some
    classes are in too few images, means over all classes have none, and `common` has those over the others, None if
    there are no others. why_no_interval: in words, if there is still none.
    """

    images: int
    miou: float
    miou_interval: Interval | None
    pixel_accuracy: float
    pixel_accuracy_interval: Interval | None
    dice: float
    dice_interval: Interval | None
    boundary_f: float
    boundary_f_interval: Interval | None
    classes: list[MaskClassFigures]
    common: CommonClasses | None = None
    why_no_interval: str | None = None

    @property
    def compared(self) -> tuple[Interval | None, tuple[int, ...] | None]:
        """The interval of the mIoU over the classes in enough images; these classes, None for all that are present."""
        return (self.miou_interval, None) if self.common is None else (self.common.miou_interval, self.common.classes)


@dataclass(frozen=True)
class PairedMasks:
    """difference: mIoU of A minus that of B, with its 95% interval. p_value: two-sided, of no difference.

    Over the classes, by number, that are in enough images; if none is, over all. If there is no test, interval and
    p_value are None and why_no_test gives the reason in words. better_a, better_b: images on which
    A's or B's mIoU is higher. total: images. method: of interval and p-value. measure: what is compared, with the
    classes' names if some are left out. groups: number of groups, None if the images are not grouped.
    """

    difference: float
    interval: Interval | None
    p_value: float | None
    better_a: int
    better_b: int
    total: int
    method: str
    classes: tuple[int, ...] = ()
    measure: str = "mIoU"
    why_no_test: str | None = None
    groups: int | None = None


def counts_of(confusion: Counts) -> Counts:
    """(…, C, 3) true positive, false positive, false negative pixels, from (…, C, C) pixels by [truth, prediction]."""
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    return np.stack([right, confusion.sum(-2) - right, confusion.sum(-1) - right], axis=-1)


def iou(counts: NDArray[np.int64] | NDArray[np.uint32] | Floats) -> Floats:
    """(…, C) intersection over union from (…, C, 3) counts; NaN for a class without any pixel."""
    return ratio(counts[..., 0], counts[..., 0] + counts[..., 1] + counts[..., 2])


def mean_over_classes(values: Floats) -> Floats:
    """(…,) means of (…, C), classes that are NaN left out; NaN if all are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # "mean of empty slice"
        return np.asarray(np.nanmean(values, axis=-1))


def miou(confusion: Counts) -> float:
    """Of a set of images: from the sum of their (N, C, C) confusion matrices, absent classes left out."""
    return float(mean_over_classes(iou(counts_of(confusion.sum(0)))))


def by_image(confusion: Counts) -> tuple[Floats, Floats]:
    """(N,) mIoU and (N,) pixel accuracy of each single image; NaN if nothing of it is scored."""
    counts = counts_of(confusion)
    return mean_over_classes(iou(counts)), _accuracy(counts)


def mask_figures(
    counts: AnyCounts, boundary: Counts | None = None, groups: NDArray[np.int64] | None = None
) -> MaskFigures:
    """All figures of one run.

    counts: (N, C, 3) true positive, false positive, false negative pixels. boundary: (N, C, 4) predicted boundary
    pixels, of these matched, true ones, of these matched; None: no boundary F-score. groups: (N,); whole groups are
    left out then.
    """
    classes = counts.shape[1]
    edges = np.zeros((len(counts), classes, 4)) if boundary is None else boundary
    by_support, total = support(counts, groups), counts.sum(0, dtype=np.float64)  # (C, 3)
    by_class = np.stack([iou(total), _dice(total), _boundary_f(edges.sum(0, dtype=np.float64))])
    enough = np.flatnonzero(by_support.enough)
    rare = np.flatnonzero(~np.isnan(by_class[0]) & ~by_support.enough)
    accuracy, of_means, of_classes = _intervals(counts, edges, groups, by_support)
    miou, dice, boundary_f = (float(value) for value in mean_over_classes(by_class))
    means = [float(value) for value in mean_over_classes(by_class[:, enough])]
    no_intervals: list[Interval | None] = [None] * 3
    common = None
    if len(rare) and len(enough):
        common = CommonClasses(
            tuple(int(number) for number in enough), means[0], of_means[0], means[1], of_means[1], means[2], of_means[2]
        )
    over_all = no_intervals if len(rare) else of_means
    reason = by_support.why_none
    if reason is None and of_means[0] is None:
        reason = "all images are alike"
    recall = ratio(total[:, 0], total[:, 0] + total[:, 2])
    precision = ratio(total[:, 0], total[:, 0] + total[:, 1])
    share = ratio(total[:, 0] + total[:, 2], total[:, [0, 2]].sum())
    per_class = [
        MaskClassFigures(
            share=float(share[c]),
            iou=float(by_class[0, c]),
            iou_interval=of_classes.get(c),
            dice=float(by_class[1, c]),
            recall=float(recall[c]),
            precision=float(precision[c]),
            boundary_f=float(by_class[2, c]),
            images=int(by_support.by_class[c]),
            enough=bool(by_support.enough[c]),
        )
        for c in range(classes)
    ]
    return MaskFigures(
        images=len(counts),
        miou=miou,
        miou_interval=over_all[0],
        pixel_accuracy=float(_accuracy(total)),
        pixel_accuracy_interval=accuracy,
        dice=dice,
        dice_interval=over_all[1],
        boundary_f=boundary_f,
        boundary_f_interval=over_all[2],
        classes=per_class,
        common=common,
        why_no_interval=reason,
    )


def _intervals(
    counts: AnyCounts, edges: NDArray[np.generic], groups: NDArray[np.int64] | None, by_support: Support
) -> tuple[Interval | None, list[Interval | None], dict[int, Interval | None]]:
    """Of pixel accuracy; of mean IoU, Dice, boundary F-score over the classes in enough images; of the IoU of each."""
    if by_support.too_few is not None:
        return None, [None] * 3, {}
    enough = np.flatnonzero(by_support.enough)
    outlined = enough[edges[:, enough, ::2].any((0, 2))]

    def statistic(sums: Floats) -> Floats:
        """(r, C, 7) to (r, 4 + C'): pixel accuracy, means over the C' classes in `enough`, the IoU of each."""
        pixels, ious = sums[..., :3], iou(sums[:, enough, :3])
        by_class = [ious, _dice(pixels[:, enough]), _boundary_f(sums[:, outlined, 3:])]
        means = [values.sum(-1) / max(1, values.shape[-1]) for values in by_class]
        return np.column_stack([_accuracy(pixels), *means, ious])

    sums = sums_by_unit(np.concatenate([counts, edges], axis=-1), groups)
    whole, pseudo = pseudo_values(statistic, sums)
    of_class = _parts(sums[:, enough, :3])
    mean, outline = of_class.sum(1), _parts(sums[:, outlined][..., [3, 5]]).sum(1)
    sizes = np.column_stack([sums[..., [0, 2]].sum((1, 2)), mean, mean, outline, of_class])  # (U, 4 + C')
    units = np.full(4 + len(enough), by_support.units)
    if groups is None:
        units[4:] = by_support.by_class[enough]
    columns = zip(whole.tolist(), pseudo.T, sizes.T, units.tolist(), strict=True)
    intervals = [share_interval(*column) if column[2].any() else None for column in columns]
    return intervals[0], intervals[1:4], dict(zip(enough.tolist(), intervals[4:], strict=True))


def _parts(counts: Floats) -> Floats:
    """(U, C) each unit's share of each class's pixels, from (U, C, …)."""
    pixels = counts.sum(-1)
    return np.asarray(pixels / pixels.sum(0))


def paired_masks(counts_a: AnyCounts, counts_b: AnyCounts, groups: NDArray[np.int64] | None = None) -> PairedMasks:
    """Two runs on the same images: the difference of their mIoU, by the jackknife over images or groups for both.

    counts_a, counts_b: (N, C, 3) of the same images and classes. groups: (N,).
    """
    by_support = support(counts_a, groups)
    enough = np.flatnonzero(by_support.enough)
    a, b = (mean_over_classes(iou(counts)) for counts in (counts_a, counts_b))
    interval, p_value, reason = None, None, by_support.why_none
    if reason is None:
        sums = [sums_by_unit(counts[:, enough], groups) for counts in (counts_a, counts_b)]
        jackknifed = [pseudo_values(_miou_of, unit_sums) for unit_sums in sums]
        difference = float((jackknifed[0][0] - jackknifed[1][0])[0])
        sizes = (_parts(sums[0]) + _parts(sums[1])).sum(1)
        interval, p_value = t_interval(difference, (jackknifed[0][1] - jackknifed[1][1])[:, 0], sizes)
        if interval is None:
            alike = difference == 0
            reason = "both get the same pixels right and wrong" if alike else "the images are all alike"
        else:
            interval = Interval(max(-1.0, interval.low), min(1.0, interval.high))
    else:
        of_a, of_b = (mean_over_classes(iou(counts.sum(0))) for counts in (counts_a, counts_b))
        difference = float(of_a - of_b)
    return PairedMasks(
        difference=difference,
        interval=interval,
        p_value=p_value,
        better_a=int((a > b).sum()),
        better_b=int((b > a).sum()),
        total=len(counts_a),
        method=f"jackknife over {'images' if groups is None else 'groups'}",
        classes=tuple(int(number) for number in enough),
        why_no_test=reason,
        groups=by_support.groups,
    )


def miou_by_unit(
    counts: AnyCounts, groups: NDArray[np.int64] | None = None, classes: Sequence[int] | None = None
) -> Floats:
    """(U,) a value for each image, or group of images, whose mean is the mIoU: its jackknife pseudo-values.

    counts: (N, C, 3). classes: to take the mean over; None: all in truth or prediction. An mIoU is
    not a mean over images, so an image contributes U times the mIoU minus (U - 1) times that without it, shifted by
    a constant so that the mean is the mIoU itself. Their variance is that of the mIoU to first order. A class that is
    in only one unit keeps its IoU when that unit is left out: the set of classes stays the same.
    Source: Tukey 1958, Ann Math Stat 29:614; Miller 1974, Biometrika 61:1.
    """
    sums = sums_by_unit(counts if classes is None else counts[:, list(classes)], groups)
    fixed = iou(sums.sum(0))

    def statistic(unit_sums: Floats) -> Floats:
        by_class = iou(unit_sums)
        return mean_over_classes(np.where(np.isnan(by_class), fixed, by_class))[:, None]

    whole, pseudo = pseudo_values(statistic, sums)
    return np.asarray(pseudo[:, 0] - pseudo.mean() + whole[0])


def miou_degrees(counts: AnyCounts, groups: NDArray[np.int64] | None, classes: Sequence[int]) -> float:
    """Degrees of freedom of the variance of `miou_by_unit`, over classes that are in enough images."""
    return degrees_of_freedom(_parts(sums_by_unit(counts[:, list(classes)], groups)).sum(1))


def _miou_of(sums: Floats) -> Floats:
    """(r, 1) from (r, C, 3)."""
    return mean_over_classes(iou(sums))[:, None]


def _accuracy(counts: NDArray[np.generic]) -> Floats:
    """(…,) share of the scored pixels that are right, from (…, C, 3)."""
    right = counts[..., 0].sum(-1)
    return ratio(right, right + counts[..., 2].sum(-1))


def _dice(counts: Floats) -> Floats:
    return ratio(2 * counts[..., 0], 2 * counts[..., 0] + counts[..., 1] + counts[..., 2])


def _boundary_f(edges: Floats) -> Floats:
    """(…, C) F-score from (…, C, 4); NaN for a class without boundary, 0 where only one of the two masks has one."""
    precision, recall = ratio(edges[..., 1], edges[..., 0]), ratio(edges[..., 3], edges[..., 2])
    score = np.nan_to_num(ratio(2 * precision * recall, precision + recall))
    return np.where(edges[..., 0] + edges[..., 2] > 0, score, np.nan)
