"""Whether predictions with a confidence of 80% are right in 80% of cases."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.insight.groups import Floats, shares, student, sums_by_unit, variance_between, why_no_interval
from snellen.insight.proportions import Interval, wilson

BINS = 15
FEWEST_IMAGES = 200  # for an interval of the calibration error
_LEAST_IN_BIN = 10
_RULE = 1.96**1.5  # Wilson's upper limit of 0 of n is about 1.96^2 / n; its square is 1.96 times the root of the least


@dataclass(frozen=True)
class Bin:
    """Images whose confidence lies in (low, high]. confidence, accuracy: their means; None for an empty bin.

    accuracy_interval: 95%; None also for images of fewer than three groups.
    """

    low: float
    high: float
    images: int
    confidence: float | None
    accuracy: float | None
    accuracy_interval: Interval | None


@dataclass(frozen=True)
class Calibration:
    """error: debiased l2 calibration error, in [0, 1]; its interval, or why there is none, such as "only 2 groups".

    error is None for fewer than two images (or groups). negative_log_likelihood: nats. brier: in [0, 2].
    """

    bins: list[Bin]
    error: float | None
    error_interval: Interval | None
    no_interval: str | None
    brier: float
    negative_log_likelihood: float


def calibration(
    probabilities: NDArray[np.float32], target: NDArray[np.int64], groups: NDArray[np.int64] | None = None
) -> Calibration:
    """Reliability in 15 equal bins of the largest probability, and the calibration error of the same confidence.

    probabilities: (N, C). target: (N,). groups: (N,); with them intervals come from the variance between groups, else
    the bins' are Wilson's. The error needs 200 images for an interval. Source of the Brier score: Brier 1950.
    """
    images, classes = probabilities.shape
    confidence = probabilities.max(1).astype(np.float64)
    right = probabilities.argmax(1) == target
    bin_index = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    member = np.eye(BINS)[bin_index]  # (N, 15)
    counts, hits = member.sum(0).astype(int), (member * right[:, None]).sum(0).astype(int)
    if groups is None:
        intervals = [wilson(int(hit), int(count)) if count else None for hit, count in zip(hits, counts, strict=True)]
    else:
        sums = sums_by_unit(np.column_stack([member * right[:, None], member]), groups)
        intervals = shares(*np.split(sums, 2, axis=1))
    bins = []
    for number, (count, hit) in enumerate(zip(counts.tolist(), hits.tolist(), strict=True)):
        bins.append(
            Bin(
                low=number / BINS,
                high=(number + 1) / BINS,
                images=count,
                confidence=float(confidence[bin_index == number].mean()) if count else None,
                accuracy=hit / count if count else None,
                accuracy_interval=intervals[number],
            )
        )
    of_target = probabilities[np.arange(images), target].astype(np.float64)
    error, interval = calibration_error(confidence, right, groups)
    reason = why_no_interval(groups)
    if reason is None and images < FEWEST_IMAGES:
        reason = f"fewer than {FEWEST_IMAGES} images"
    return Calibration(
        bins=bins,
        error=error,
        error_interval=interval,
        no_interval=reason,
        brier=float(((probabilities - np.eye(classes)[target]) ** 2).sum(1).mean()),
        negative_log_likelihood=float(-np.log(np.clip(of_target, 1e-12, 1)).mean()),
    )


def calibration_error(
    confidence: Floats, right: NDArray[np.bool_], groups: NDArray[np.int64] | None = None
) -> tuple[float | None, Interval | None]:
    """Debiased l2 calibration error: the root mean square of the gap between confidence and accuracy, in [0, 1].

    confidence: (N,) in [0, 1]. right: (N,) bool. groups: (N,) int64. 15 bins of equally many images, equal confidences
    in one; fewer for fewer than 150 images. The square T is the mean over the bins of the mean product of the gaps,
    right - confidence, of two images (of different groups): a gap's own noise is in no product, so T has no bias, and
    can be negative; the error is then 0. The interval holds the squares s for which (T - s)^2 is at most
    t^2 (v + w s / max(T, sqrt(v))): v is the variance of a calibrated network's T, w what a gap adds to it, from the
    variance between images, or groups. It reaches 0 for a network that may well be calibrated. None for fewer than 200
    images or three groups; no estimate from a single image or group.
    Sources: Kumar, Liang & Ma 2019, arXiv 1909.10155, section 4; Sun, Chaudhari, Barnett & Dobriban 2024, arXiv
    2408.08998: the products, and the two rates of the variance.
    """
    gap = right - confidence
    table = np.zeros((len(gap), 2 * BINS))
    bin_index = _equal_mass(confidence)
    rows = np.arange(len(gap))
    table[rows, bin_index], table[rows, BINS + bin_index] = gap, 1
    gaps, counts = np.split(sums_by_unit(table, groups), 2, axis=1)  # (G, 15)
    total, summed = counts.sum(0), gaps.sum(0)
    pairs = total**2 - (counts**2).sum(0)  # of images in different groups
    if not pairs.any():
        return None, None
    weight = np.where(pairs > 0, total / len(gap) / np.where(pairs > 0, pairs, 1), 0.0)
    square = float((weight * (summed**2 - (gaps**2).sum(0))).sum())
    error = math.sqrt(max(0.0, square))
    if len(gap) < FEWEST_IMAGES or why_no_interval(groups):
        return error, None
    products = gaps.T @ gaps  # (15, 15)
    calibrated = 2 * float((np.outer(weight, weight) * products**2).sum() - (((weight * gaps**2).sum(1)) ** 2).sum())
    others = total - counts
    mean_of_others = np.where(others > 0, (summed - gaps) / np.where(others > 0, others, 1), 0.0)
    mean = summed / np.where(total > 0, total, 1)
    linear = (2 * mean_of_others * gaps - mean**2 * counts).sum(1, keepdims=True)
    by_gap, degrees = variance_between(linear, counts.sum(1, keepdims=True))
    if groups is None:  # half of the noise in the gaps of the others, which is in the sum too; few groups cannot tell
        by_gap = max(by_gap - calibrated, by_gap / 4)
    least = (_RULE / len(gap)) ** 4  # all right, each with full confidence: Wilson's interval of as many images
    return error, _squares(square, max(calibrated, least), by_gap, student(degrees))


def _squares(square: float, calibrated: float, by_gap: float, quantile: float) -> Interval:
    """The interval of the error from that of its square."""
    estimate = max(0.0, square)
    slope = by_gap / max(square, math.sqrt(calibrated))
    middle = estimate + quantile**2 * slope / 2
    half = math.sqrt(middle**2 - estimate**2 + quantile**2 * calibrated)
    return Interval(math.sqrt(max(0.0, middle - half)), min(1.0, math.sqrt(middle + half)))


def _equal_mass(confidence: Floats) -> NDArray[np.intp]:
    """(N,) bin of each image, in [0, 15)."""
    count = min(BINS, max(1, len(confidence) // _LEAST_IN_BIN))
    ordered = np.sort(confidence)
    last = np.linspace(0, len(ordered), count + 1).round().astype(int)[1:-1] - 1
    return np.searchsorted(ordered[last], confidence, side="left")
