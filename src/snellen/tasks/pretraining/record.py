"""What a pretraining run keeps of its labelled images, where it has some: the files of a classification run.

Predictions are those of its nearest neighbours, samples.csv has the parts train (without labels), known and validation,
and data.json what the features were worth before the first step.
"""

from __future__ import annotations

from snellen.recipe.load import read_resolved
from snellen.run.directory import RunDirectory
from snellen.tasks.pretraining.recipe import PretrainingRecipe

EPOCH_COLUMNS = ("train_projection_deviation", "knn_top1", "probe_top1", "effective_rank", "feature_deviation")


def recipe_of(run: RunDirectory) -> PretrainingRecipe:
    """The resolved recipe of a pretraining run. Raises UserError for a run of another task."""
    return read_resolved(run.path / "recipe.yaml", PretrainingRecipe)
