"""Which classes are mistaken for which, and the most confident mistakes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Confusion:
    """counts: (C, C) int64, rows the true class, columns the predicted one. pairs: the most frequent confusions first.

    Each pair: (true class, predicted class, how many).
    """

    counts: NDArray[np.int64]
    pairs: list[tuple[int, int, int]]


def confusion(prediction: NDArray[np.int64], target: NDArray[np.int64], classes: int, most: int = 10) -> Confusion:
    """Counts of every (true, predicted) pair. prediction, target: (N,) int64 in [0, C)."""
    counts = np.bincount(target * classes + prediction, minlength=classes * classes).reshape(classes, classes)
    return ranked(counts.astype(np.int64), most)


def ranked(counts: NDArray[np.int64], most: int = 10) -> Confusion:
    """The most frequent confusions of (C, C) counts, of images or of pixels."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    classes = len(counts)
    pairs = [(int(i // classes), int(i % classes), int(wrong.flat[i])) for i in order if wrong.flat[i] > 0]
    return Confusion(counts, pairs)


@dataclass(frozen=True)
class Mistake:
    """row: of the scored images. confidence: probability of the wrong class; target_confidence: of the right one."""

    row: int
    target: int
    prediction: int
    confidence: float
    target_confidence: float


def confident_mistakes(
    probabilities: NDArray[np.float32],
    target: NDArray[np.int64],
    most: int = 24,
    among: NDArray[np.bool_] | Literal[True] = True,
) -> list[Mistake]:
    """Wrong predictions, the most confident first. probabilities: (N, C). target: (N,). among: (N,) images, or all."""
    prediction = probabilities.argmax(1)
    rows = np.flatnonzero((prediction != target) & among)
    rows = rows[np.argsort(-probabilities[rows, prediction[rows]], kind="stable")][:most]
    return [
        Mistake(
            row=int(row),
            target=int(target[row]),
            prediction=int(prediction[row]),
            confidence=float(probabilities[row, prediction[row]]),
            target_confidence=float(probabilities[row, target[row]]),
        )
        for row in rows
    ]
