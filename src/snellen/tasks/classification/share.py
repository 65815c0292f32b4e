"""A trained classifier as others load it."""

from __future__ import annotations

from torch import nn

from snellen.exporting.publishing import licence_of
from snellen.models.backbones import from_timm, weights_licence
from snellen.models.classifier import build_classifier
from snellen.models.timm_twin import timm_twin
from snellen.run.directory import RunDirectory
from snellen.tasks.classification.recipe import Recipe
from snellen.tasks.classification.record import load_model, recipe_of
from snellen.tasks.classification.report.collect import RunFigures
from snellen.tasks.kind import Figure, Native, Shared

PIPELINE = "image-classification"
HAS_ONNX = True


def shared(run: RunDirectory) -> Shared:
    """The network of the chosen epoch."""
    recipe, model = recipe_of(run), load_model(run, "best")
    spec = recipe.model
    twin = timm_twin(model, spec, len(run.classes), recipe.augmentation.size, spec.head.scale)
    return Shared(
        network=model,
        native=None if twin is None else Native(*twin),
        backbone=spec.backbone,
        evaluation=recipe.evaluation.model_dump(
            mode="json", include={"size", "resize", "interpolation", "squash", "flip"}
        ),
        weights=licence_of(spec.weights, weights_licence(spec)),
    )


def empty_network(recipe: Recipe, classes: int, native: bool) -> nn.Module:
    """The network of a recipe, without its weights. native: in timm's form."""
    spec, size = recipe.model.model_copy(update={"weights": None}), recipe.augmentation.size
    if native:
        return from_timm(spec, size, download=False, classes=classes)
    return build_classifier(spec, classes, size, seed=0)[0]


def figures(view: RunFigures) -> list[Figure]:
    """Top-1 and what belongs to it; how far its probabilities are from the shares of right images."""
    of_run, calibration = view.figures, view.calibration
    if of_run is None:
        return []
    rows = [
        Figure("top-1", "accuracy", of_run.top1, of_run.top1_interval),
        Figure("balanced accuracy", "balanced_accuracy", of_run.balanced, of_run.balanced_interval),
        Figure("macro F1", "f1", of_run.macro_f1, of_run.macro_f1_interval),
    ]
    if of_run.top5 is not None:
        rows.insert(1, Figure("top-5", "top_5_accuracy", of_run.top5, of_run.top5_interval))
    if calibration is not None and calibration.error is not None:
        name = "calibration error (debiased l2, of the kept weights)"
        rows.append(Figure(name, "calibration_error", calibration.error, calibration.error_interval))
    return rows
