"""One run with few or no errors: top-1, recalls and the means over classes, of images that stand alone."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray
from simulated.cells import Band, Cell, Generator, Measures

from snellen.insight.classification import figures

_FEW = (0.9, 0.998)  # accuracies over which the coverage is averaged


def _chances(classes: int, balanced: bool) -> NDArray[np.float64]:
    """How frequent each class is: all alike, or the last one ten times as frequent as the first."""
    weights = np.ones(classes) if balanced else np.geomspace(1, 10, classes)
    return np.asarray(weights / weights.sum())


def _draw(
    generator: Generator, measure: str, images: int, classes: int, balanced: bool, accuracy: float | None
) -> Measures:
    """accuracy: of every class, a mistaken image is taken for any other class; None: drawn between .9 and .998."""
    if accuracy is None:
        accuracy = float(generator.uniform(*_FEW))
    chances = _chances(classes, balanced)
    target = generator.choice(classes, images, p=chances)
    wrong = generator.random(images) >= accuracy
    predicted = np.where(wrong, (target + generator.integers(1, classes, images)) % classes, target)
    result = figures(np.eye(classes, dtype=np.float32)[predicted], target.astype(np.int64))
    truth = accuracy
    if measure == "balanced":
        interval = result.balanced_interval
    elif measure == "macro F1":
        answers = chances * accuracy + (1 - accuracy) * (1 - chances) / (classes - 1)
        is_present = np.bincount(target, minlength=classes) > 0
        truth = float((2 * chances * accuracy / (chances + answers))[is_present].mean())
        interval = result.macro_f1_interval
    elif measure == "recall":
        interval = result.classes[-1].recall_interval
    else:
        interval = result.top1_interval
    if interval is None:
        return {"covers": np.nan, "width": np.nan, "zero width": np.nan}
    return {
        "covers": float(interval.low <= truth <= interval.high),
        "width": interval.high - interval.low,
        "zero width": float(interval.low == interval.high),
    }


def _draw_collapsed(generator: Generator, measure: str, images: int, classes: int, exceptions: float) -> Measures:
    """A classifier that nearly always predicts one class, 0, and misses an image of it, or recognises one of class 1.

    exceptions: the expected number of such images, all of one of the two kinds.
    """
    per_class = images // classes
    target, chance = np.repeat(np.arange(classes), per_class), exceptions / per_class
    recalls, kind = np.eye(classes)[0], int(generator.integers(2))
    recalls[kind] += chance if kind else -chance
    is_exception = (target == kind) & (generator.random(len(target)) < chance)
    result = figures(np.eye(classes, dtype=np.float32)[is_exception.astype(int)], target)
    if measure == "balanced":
        truth, interval = float(recalls.mean()), result.balanced_interval
    else:
        answers = np.zeros(classes)
        answers[:2] = classes - chance, chance  # in units of per_class
        truth, interval = float((2 * recalls / (1 + answers)).mean()), result.macro_f1_interval
    assert interval is not None
    return {"covers": float(interval.low <= truth <= interval.high), "width": interval.high - interval.low}


_AVERAGE = {"covers": Band(0.94), "zero width": Band(high=0.0)}
_NOWHERE = {"covers": Band(0.90), "zero width": Band(high=0.0)}
_USUAL = {"covers": Band(0.94, 0.97)}

CELLS = [
    Cell(
        f"few errors, {measure}",
        f"{images} images, {classes} {'' if balanced else 'unbalanced '}classes, "
        f"accuracy {'.90 to .998' if accuracy is None else accuracy}",
        partial(_draw, measure=measure, images=images, classes=classes, balanced=balanced, accuracy=accuracy),
        _AVERAGE if accuracy is None else _NOWHERE if accuracy >= _FEW[0] else _USUAL,
        300 if (classes, balanced, accuracy) == (10, False, None) and measure in ("balanced", "macro F1") else 0,
    )
    for measure in ("top-1", "balanced", "macro F1", "recall")
    for images, accuracies in (
        (50, (None, 0.9, 0.95, 0.98, 0.99, 0.998)),
        (406, (None, 0.9, 0.95, 0.98, 0.99, 0.998, 0.6, 0.85)),
        (5000, (0.6, 0.85)),
    )
    for classes, balanced in (((2, True),) if measure == "top-1" else ((2, True), (2, False), (10, True), (10, False)))
    for accuracy in accuracies
]
CELLS += [
    Cell(
        f"one class predicted, {measure}",
        f"{images} images, {classes} classes, {exceptions} exceptions expected",
        partial(_draw_collapsed, measure=measure, images=images, classes=classes, exceptions=exceptions),
        {"covers": Band(0.90)},
        300 if (images, classes, exceptions) == (5000, 2, 1) else 0,
    )
    for measure in ("balanced", "macro F1")
    for images in (50, 400, 5000)
    for classes in (2, 10)
    for exceptions in (0.5, 1, 2, 3, 6)
    if exceptions < images / classes
]
