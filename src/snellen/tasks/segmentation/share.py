"""A trained segmenter as others load it."""

from __future__ import annotations

from snellen.exporting.publishing import licence_of
from snellen.models.segmenters.build import build_segmenter
from snellen.models.segmenters.segmenter import Segmenter
from snellen.run.directory import RunDirectory
from snellen.tasks.kind import Figure, Shared
from snellen.tasks.segmentation.recipe import SegmentationRecipe
from snellen.tasks.segmentation.record import load_model, recipe_of
from snellen.tasks.segmentation.report.collect import MaskRun

PIPELINE = "image-segmentation"
HAS_ONNX = True


def shared(run: RunDirectory) -> Shared:
    """The network of the chosen epoch; timm has no segmenters."""
    recipe = recipe_of(run)
    return Shared(
        network=load_model(run, "best"),
        native=None,
        backbone=recipe.model.architecture,
        evaluation=recipe.evaluation.model_dump(mode="json", include={"resize", "multiple", "flip"}),
        weights=licence_of(recipe.model.weights, None),
    )


def empty_network(recipe: SegmentationRecipe, classes: int, native: bool) -> Segmenter:
    """The network of a recipe, without its weights. native: timm has none."""
    return build_segmenter(recipe.model.model_copy(update={"weights": None}), classes, seed=0)[0]


def figures(view: MaskRun) -> list[Figure]:
    """mIoU over all classes, over those in enough images, and what belongs to it."""
    of_run = view.figures
    if of_run is None:
        return []
    rows = [Figure("mIoU", "mean_iou", of_run.miou, of_run.miou_interval)]
    if of_run.common is not None:
        of_common = of_run.common
        name = f"mIoU over {len(of_common.classes)} classes in enough images"
        rows.append(Figure(name, "mean_iou_of_common_classes", of_common.miou, of_common.miou_interval))
    return [
        *rows,
        Figure("pixel accuracy", "accuracy", of_run.pixel_accuracy, of_run.pixel_accuracy_interval),
        Figure("Dice", "dice", of_run.dice, of_run.dice_interval),
        Figure(
            f"boundary F-score within {view.recipe.evaluation.tolerance} px",
            "boundary_f",
            of_run.boundary_f,
            of_run.boundary_f_interval,
        ),
    ]
