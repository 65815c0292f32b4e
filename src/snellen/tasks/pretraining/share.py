"""A pretrained backbone as others load it: features, without classes."""

from __future__ import annotations

import torch
from torch import nn

from snellen.exporting.publishing import licence_of
from snellen.models.backbones import weights_licence
from snellen.models.classifier import initial_backbone
from snellen.models.timm_twin import timm_twin
from snellen.models.weights import load_trained_weights
from snellen.run.directory import RunDirectory
from snellen.tasks.kind import Figure, Native, Shared
from snellen.tasks.pretraining.recipe import PretrainingRecipe
from snellen.tasks.pretraining.record import recipe_of
from snellen.tasks.pretraining.report import PretrainingFigures

PIPELINE = "image-feature-extraction"
HAS_ONNX = False


def shared(run: RunDirectory) -> Shared:
    """The backbone of the last epoch."""
    recipe = recipe_of(run)
    backbone = empty_network(recipe, 0, native=False)
    load_trained_weights(backbone, run, "best")
    twin = timm_twin(backbone.eval(), recipe.model, 0, recipe.augmentation.size)
    return Shared(
        network=backbone,
        native=None if twin is None else Native(*twin),
        backbone=recipe.model.backbone,
        evaluation=recipe.evaluation.model_dump(mode="json", include={"size", "resize", "interpolation", "squash"}),
        weights=licence_of(recipe.model.weights, weights_licence(recipe.model)),
    )


def empty_network(recipe: PretrainingRecipe, classes: int, native: bool) -> nn.Module:
    """The backbone of a recipe, without its weights. classes: it has none. native: timm's is the same."""
    spec = recipe.model.model_copy(update={"weights": None})
    with torch.random.fork_rng(devices=[]):
        return initial_backbone(spec, recipe.augmentation.size, seed=0)[0]


def figures(view: PretrainingFigures) -> list[Figure]:
    """The votes of nearest neighbours among labelled images."""
    of_run = view.figures
    return [] if of_run is None else [Figure("k-NN top-1", "accuracy", of_run.top1, of_run.top1_interval)]
