"""The values that a segmentation run is judged by, image by image: see reporting.headline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.insight.crossfit import best_by_miou, crossfitted
from snellen.insight.segmentation import counts_of
from snellen.reporting.headline import EpochChoice, choice_among, folds_of, scored_part
from snellen.run.directory import RunDirectory
from snellen.tasks.segmentation.record import MaskPredictions, by_epoch, read_predictions


@dataclass(frozen=True)
class MaskValues:
    """Values of a segmentation run. counts: (N, C, 3) true positive, false positive and false negative pixels."""

    counts: NDArray[np.int64]
    choice: EpochChoice


def mask_predictions(run: RunDirectory) -> MaskPredictions:
    """The pixel counts on `scored_samples` with the kept weights."""
    return read_predictions(run, scored_part(run))


def mask_values(run: RunDirectory, choose: str | None) -> MaskValues:
    """Values of a scored run, in the order of `scored_samples`. choose: the recipe's rule for the kept epoch."""
    of_kept = counts_of(mask_predictions(run).confusion)
    if run.has_test or choose != "best":
        return MaskValues(of_kept, EpochChoice(False, False))
    counts, folds = by_epoch(run), folds_of(run)
    choice = choice_among(len(counts), folds)
    if not choice.is_crossfitted:
        return MaskValues(of_kept, choice)
    return MaskValues(crossfitted(counts, folds, best_by_miou(counts, folds)).astype(np.int64), choice)
