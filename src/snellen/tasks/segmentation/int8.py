"""A segmenter in int8: the images that its ranges are measured on, and what it changes on the validation images."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch.nn import functional as F

from snellen.data.decode import UnreadableImageError, decode
from snellen.data.masks.classes import ClassTable
from snellen.data.masks.resize import evaluation_size, resize_image
from snellen.data.masks.sources import MaskedSample
from snellen.data.normalization import Normalization
from snellen.data.spread import spread
from snellen.errors import UserError
from snellen.exporting.quantization import LOSS, Int8Change, images_per_second
from snellen.exporting.torch_file import Normalised
from snellen.insight.groups import group_numbers
from snellen.insight.mask_words import named_test
from snellen.insight.power import images_to_exclude_by_interval
from snellen.insight.segmentation import counts_of
from snellen.recipe.load import with_data_overrides
from snellen.run.directory import RunDirectory
from snellen.tasks.segmentation.evaluate import Scorer, score_pairs
from snellen.tasks.segmentation.inference import training_sizes
from snellen.tasks.segmentation.recipe import SegmentationRecipe
from snellen.tasks.segmentation.tiling import TILE

_CALIBRATION_IMAGES = 64
_SPEED_IMAGES = 4


def calibration(run: RunDirectory, recipe: SegmentationRecipe, stride: int) -> Iterator[NDArray[np.float32]]:
    """Training images as scoring sees them, (1, 3, h, w) normalised, padded to the stride; the centre of large ones.

    Raises UserError if none can be read.
    """
    normalised = Normalised(Normalization.recorded(run.data["normalization"]))
    readable = False
    for image in images_of(run, recipe, "train", _CALIBRATION_IMAGES):
        readable = True
        with torch.inference_mode():
            pixels = normalised(torch.from_numpy(image).permute(0, 3, 1, 2))
            padded = F.pad(pixels, (0, -pixels.shape[3] % stride, 0, -pixels.shape[2] % stride))
        yield padded.numpy()
    if not readable:
        raise UserError(
            f"{run.path}: the ranges of int8 are measured on the run's training images, and none of them can be read "
            f"in {run.data['root']}. Put them back, or export without int8."
        )


def images_of(run: RunDirectory, recipe: SegmentationRecipe, part: str, most: int) -> Iterator[NDArray[np.uint8]]:
    """Images (1, h, w, 3) uint8 of a part of the run's data at the size of scoring, at most one tile of each."""
    training = training_sizes(run.data)
    for path in spread([run.image(path) for path in run.part(part)["path"]], most):
        try:
            pixels = decode(path, bits=recipe.data.bits)
        except UnreadableImageError:
            continue
        height, width = pixels.shape[1:]
        pixels = resize_image(pixels, evaluation_size((height, width), recipe.evaluation.resize, training))
        top, left = (max(0, side - TILE) // 2 for side in pixels.shape[1:])
        tile = pixels[:, top : top + TILE, left : left + TILE]
        yield np.ascontiguousarray(tile.permute(1, 2, 0)[None].numpy())


def change(
    run: RunDirectory,
    recipe: SegmentationRecipe,
    int8: tuple[Scorer, Callable[[NDArray[np.uint8]], object]],
    fp32: tuple[Scorer, Callable[[NDArray[np.uint8]], object]],
    console: Console,
) -> Int8Change:
    """int8 against fp32 on all validation images, each as it is scored and as it is run on one image.

    Raises UserError if none can be read.
    """
    recipe = with_data_overrides(recipe, {"data.unreadable": "skip"}, "export")
    part = run.part("validation")
    samples = [MaskedSample(row["path"], row["mask"]) for row in part.to_dict("records")]
    if not any(run.image(path).is_file() for sample in samples for path in sample.files[:1]):
        raise UserError(
            f"{run.path}: int8 is judged on the run's validation images, and none of them can be read in "
            f"{run.data['root']}. Put them back, or export without int8."
        )
    classes = ClassTable.recorded(run.data)
    scored = [score_pairs(scorer, recipe, run.image(""), samples, classes, console) for scorer, _ in (int8, fp32)]
    (first, rows, _), (second, same_rows, _) = scored
    if rows != same_rows:
        raise UserError(f"{run.data['root']}: its images changed while int8 was compared. Export again.")
    groups = group_numbers(part["group"].iloc[rows])
    test = named_test(counts_of(first.confusion), counts_of(second.confusion), groups, classes.names)
    needed = (
        None
        if test.interval is None
        else images_to_exclude_by_interval(test.difference, test.interval, test.total, LOSS)
    )
    images = list(images_of(run, recipe, "validation", _SPEED_IMAGES))
    return Int8Change(test, test.measure, images_per_second(int8[1], fp32[1], images), needed)
