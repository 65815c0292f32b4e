"""What a run is judged by: the one place that decides which images, and which of their values, make its headline.

If the data have a test part that was scored, the kept weights' values for its images. Else those for the validation
images, cross-fitted if the kept epoch was chosen by its score among several.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from snellen.insight.crossfit import partition
from snellen.insight.groups import group_numbers
from snellen.run.directory import RunDirectory


@dataclass(frozen=True)
class EpochChoice:
    """How the epoch that a run keeps was chosen.

    by_score: it scored best of several on these images, so figures of the kept weights are optimistic.
    is_crossfitted: the headline is free of that bias; impossible if only one image, or group, is scored.
    """

    by_score: bool
    is_crossfitted: bool


def scored_part(run: RunDirectory) -> Literal["validation", "test"]:
    """The part of the data that the headline is about."""
    return "test" if run.has_test else "validation"


def scored_samples(run: RunDirectory) -> pd.DataFrame:
    """The rows of samples.csv that the headline is about, numbered from 0."""
    samples, part = run.samples(), scored_part(run)
    samples = samples[samples["split"] == part]
    if part == "test":
        with run.arrays("predictions/test.npz") as arrays:
            samples = samples.iloc[arrays["rows"]]
    return samples.reset_index(drop=True)


def groups_of(run: RunDirectory) -> NDArray[np.int64] | None:
    """(N,) group of each of `scored_samples`, None if the data have none."""
    if not run.data["group"]:
        return None
    return group_numbers(scored_samples(run)["group"].fillna(""))


def leaked_of(run: RunDirectory) -> NDArray[np.bool_]:
    """(N,) which of `scored_samples` are copies of images that trained the run, or chose its epoch."""
    part = scored_part(run)
    count = len(run.part(part))
    rows = [row for row in run.data.get("leaked", {}).get(part, []) if row < count]
    leaked = np.zeros(count, dtype=bool)
    leaked[rows] = True
    if part == "validation":
        return leaked
    with run.arrays("predictions/test.npz") as arrays:
        return np.asarray(leaked[arrays["rows"]])


def folds_of(run: RunDirectory) -> NDArray[np.int64]:
    """(N,) fold of each of `scored_samples` for cross-fitting."""
    return partition(scored_samples(run)["path"].tolist(), groups_of(run))


def choice_among(epochs: int, folds: NDArray[np.int64]) -> EpochChoice:
    """How the epoch was chosen if the best of `epochs` is kept."""
    return EpochChoice(epochs > 1, epochs > 1 and bool(folds.any()))
