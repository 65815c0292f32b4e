"""The most confident mistakes of a run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Mistake:
    """row: of the scored images. confidence: probability of the wrong class; target_confidence: of the right one."""

    row: int
    target: int
    prediction: int
    confidence: float
    target_confidence: float


def confident_mistakes(probabilities: NDArray[np.float32], target: NDArray[np.int64], most: int = 24) -> list[Mistake]:
    """Wrong predictions, the most confident first. probabilities: (N, C). target: (N,)."""
    prediction = probabilities.argmax(1)
    rows = np.flatnonzero(prediction != target)
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
