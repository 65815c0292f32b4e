"""The values that a classification run is judged by, image by image: see reporting.headline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.insight.crossfit import best_by_share, crossfitted
from snellen.reporting.headline import EpochChoice, choice_among, folds_of, scored_part
from snellen.run.directory import RunDirectory
from snellen.tasks.classification.record import ImagePredictions, by_epoch, classes_by_epoch, read_predictions


@dataclass(frozen=True)
class ClassValues:
    """Values of a classification run.

    correct: (N,). predicted: (N,) int64 in [0, C); None if it was not kept by epoch (runs of an older version): then
    all figures except top-1 are those of the kept weights.
    """

    correct: NDArray[np.bool_]
    predicted: NDArray[np.int64] | None
    choice: EpochChoice


def class_predictions(run: RunDirectory) -> ImagePredictions:
    """Predictions of the kept weights on `scored_samples`."""
    return read_predictions(run, scored_part(run))


def class_values(run: RunDirectory, choose: str | None) -> ClassValues:
    """Values of a scored run, in the order of `scored_samples`. choose: the recipe's rule for the kept epoch."""
    scored = class_predictions(run)
    of_kept = np.asarray(scored.probabilities.argmax(1))
    if run.has_test or choose != "best":
        return ClassValues(of_kept == scored.target, of_kept, EpochChoice(False, False))
    correct, folds = by_epoch(run), folds_of(run)
    choice = choice_among(len(correct), folds)
    if not choice.is_crossfitted:
        return ClassValues(of_kept == scored.target, of_kept, choice)
    best, classes = best_by_share(correct, folds), classes_by_epoch(run)
    predicted = None if classes is None else crossfitted(classes, folds, best).astype(np.int64)
    return ClassValues(crossfitted(correct, folds, best), predicted, choice)
