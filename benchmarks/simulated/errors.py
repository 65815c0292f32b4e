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
