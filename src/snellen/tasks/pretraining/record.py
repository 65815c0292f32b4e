"""The results that a pretraining run keeps for labelled images, if it has any: the files of a classification run.

Predictions are those of k-NN; samples.csv has the parts train (without labels), known and validation; and data.json has
the evaluation of the features before the first step.
"""

from __future__ import annotations

from torch import nn

from snellen.errors import UserError
from snellen.recipe.load import read_resolved
from snellen.run.directory import RunDirectory
from snellen.tasks.classification.record import SAMPLE_COLUMNS as SAMPLE_COLUMNS
from snellen.tasks.classification.record import by_epoch as by_epoch
from snellen.tasks.classification.record import prediction_table as prediction_table
from snellen.tasks.classification.record import read_predictions as read_predictions
from snellen.tasks.classification.record import read_snapshots as read_snapshots
from snellen.tasks.pretraining.recipe import PretrainingRecipe

EPOCH_COLUMNS = ("train_projection_deviation", "knn_top1", "probe_top1", "effective_rank", "feature_deviation")


def recipe_of(run: RunDirectory) -> PretrainingRecipe:
    """The resolved recipe of a pretraining run. Raises UserError for a run of another task."""
    return read_resolved(run.path / "recipe.yaml", PretrainingRecipe)


def load_model(run: RunDirectory, which: str) -> nn.Module:
    """Raises UserError, with the command that trains a classifier on the backbone, which alone has no classes."""
    raise no_classes(run)


def no_classes(run: RunDirectory) -> UserError:
    """Why the run cannot classify images, and the command that trains a classifier on it."""
    return UserError(
        f"{run.path}: a pretraining run has a backbone and no classes. To train a classifier on it: "
        f"snellen train RECIPE DATA model.weights={run.path} model.backbone={recipe_of(run).model.backbone}"
    )
