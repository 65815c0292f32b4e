"""What a run is judged by: the one place that decides which images, and which values of each, are its headline.

Where the data have a test part that was scored, the kept weights' values of its images. Else those of the validation
images, cross-fitted where the kept epoch was chosen by its score among several.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from snellen.insight.crossfit import best_by_miou, best_by_share, crossfitted, partition
from snellen.insight.segmentation import counts_of
from snellen.run.directory import ImagePredictions, MaskPredictions, Run


@dataclass(frozen=True)
class EpochChoice:
    """How the epoch that a run keeps came about.

    by_score: it scored best of several on the images that are scored here, so figures of the kept weights are too good.
    is_crossfitted: the headline is free of that; it cannot be where a single image, or group, is scored.
    """

    by_score: bool
    is_crossfitted: bool


@dataclass(frozen=True)
class ClassValues:
    """Of a run that says of images what they are.

    correct: (N,). predicted: (N,) int64 in [0, C); None where it was not kept by epoch (runs of an older version): what
    goes beyond top-1 is of the kept weights then.
    """

    correct: NDArray[np.bool_]
    predicted: NDArray[np.int64] | None
    choice: EpochChoice


@dataclass(frozen=True)
class MaskValues:
    """Of a run that predicts masks. counts: (N, C, 3) true positive, false positive and false negative pixels."""

    counts: NDArray[np.int64]
    choice: EpochChoice


def scored_part(run: Run) -> Literal["validation", "test"]:
    """The part of the data that the headline is of."""
    return "test" if run.has_test else "validation"


def scored_samples(run: Run) -> pd.DataFrame:
    """The rows of samples.csv that the headline is of, numbered from 0."""
    samples, part = run.samples(), scored_part(run)
    samples = samples[samples["split"] == part]
    if part == "test":
        rows = run.mask_test().rows if run.recipe.task == "segmentation" else run.test().rows
        samples = samples.iloc[rows]
    return samples.reset_index(drop=True)


def class_predictions(run: Run) -> ImagePredictions:
    """What the kept weights say of `scored_samples`."""
    return run.test() if run.has_test else run.validation()


def mask_predictions(run: Run) -> MaskPredictions:
    """The same of a segmentation run."""
    return run.mask_test() if run.has_test else run.mask_validation()


def class_values(run: Run) -> ClassValues:
    """Of a classification or pretraining run that was scored, in the order of `scored_samples`."""
    scored = class_predictions(run)
    of_kept = np.asarray(scored.probabilities.argmax(1))
    if run.has_test or run.recipe.evaluation.choose != "best":
        return ClassValues(of_kept == scored.target, of_kept, EpochChoice(False, False))
    by_epoch, folds = run.correct_by_epoch(), _folds(run)
    choice = _choice(len(by_epoch), folds)
    if not choice.is_crossfitted:
        return ClassValues(of_kept == scored.target, of_kept, choice)
    best, classes = best_by_share(by_epoch, folds), run.classes_by_epoch()
    predicted = None if classes is None else crossfitted(classes, folds, best).astype(np.int64)
    return ClassValues(crossfitted(by_epoch, folds, best), predicted, choice)


def mask_values(run: Run) -> MaskValues:
    """Of a segmentation run that was scored, in the order of `scored_samples`."""
    of_kept = counts_of(mask_predictions(run).confusion)
    if run.has_test or run.recipe.evaluation.choose != "best":
        return MaskValues(of_kept, EpochChoice(False, False))
    by_epoch, folds = run.counts_by_epoch(), _folds(run)
    choice = _choice(len(by_epoch), folds)
    if not choice.is_crossfitted:
        return MaskValues(of_kept, choice)
    return MaskValues(crossfitted(by_epoch, folds, best_by_miou(by_epoch, folds)).astype(np.int64), choice)


def groups_of(run: Run) -> NDArray[np.int64] | None:
    """(N,) group of each of `scored_samples`, None where the data have none."""
    if not run.data["group"]:
        return None
    return np.asarray(pd.factorize(scored_samples(run)["group"])[0], dtype=np.int64)


def _folds(run: Run) -> NDArray[np.int64]:
    return partition(scored_samples(run)["path"].tolist(), groups_of(run))


def _choice(epochs: int, folds: NDArray[np.int64]) -> EpochChoice:
    return EpochChoice(epochs > 1, epochs > 1 and bool(folds.any()))
