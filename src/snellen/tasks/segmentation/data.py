"""The images with masks of a segmentation run, and a recipe that suits them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from snellen.data.given import check_path
from snellen.data.listing import Source
from snellen.data.masks.sources import MaskedSet, is_masked, read_masked
from snellen.data.spread import spread
from snellen.engine.device import find_device
from snellen.recipe.load import load_as
from snellen.run.directory import RunDirectory
from snellen.run.writer import RunWriter
from snellen.tasks.choice import Choice, for_few_images, median_side, settle
from snellen.tasks.segmentation.recipe import SegmentationRecipe
from snellen.tasks.setup import say, say_notes, with_absolute_weights

_TIMED = 60, 30  # training and scored images for timing steps


def recognises(data: Source) -> bool:
    """Whether data are a folder of images with masks, judged by names alone."""
    return is_masked(data)


def choose(data: Source, overrides: Mapping[str, Any], console: Console) -> tuple[MaskedSet, SegmentationRecipe]:
    """The images of a folder, and a recipe that suits their size, their number and the hardware."""
    read_with = {key: value for key, value in overrides.items() if key.startswith(("data.", "hardware."))}
    partial = load_as(SegmentationRecipe, {"task": "segmentation"}, read_with)
    images = read_masked(check_path(data), partial.data)
    choice = suggest(images.training_files, gpu=find_device(partial.hardware).type != "cpu")
    fields = settle(console, choice, overrides, len(images.train))
    return images, load_as(SegmentationRecipe, choice.name, fields)


def suggest(paths: Sequence[Path], gpu: bool) -> Choice:
    """A recipe that suits the size and number of the training images and the hardware."""
    name = "segment-large" if gpu else "segment-lite"
    reason = f"the images have masks and there is {'a' if gpu else 'no'} GPU"
    side, recipe = median_side(paths), load_as(SegmentationRecipe, name)
    fields = for_few_images(name, recipe, len(paths))
    if "epochs" in fields:
        # Short epochs need not all be scored.
        fields["evaluation.every"] = max(recipe.evaluation.every, fields["epochs"] // recipe.epochs)
    if isinstance(recipe.augmentation.resize, int) and side < recipe.augmentation.resize:  # do not enlarge small images
        fields |= {"augmentation.resize": None, "evaluation.resize": None}
        crop = max(32, 32 * round(side / 32))
        if isinstance(recipe.augmentation.size, int) and crop < recipe.augmentation.size:
            fields["augmentation.size"] = crop
    return Choice(name, reason, fields)


def read(data: Source, recipe: SegmentationRecipe) -> MaskedSet:
    """The images and masks of a folder."""
    return read_masked(check_path(data), recipe.data)


def read_again(run: RunDirectory, recipe: SegmentationRecipe) -> MaskedSet:
    """The images and masks that a run was trained on."""
    return read_masked(run.data["source"], recipe.data)


def keep_source(data: Source, writer: RunWriter) -> str | Path:
    """The folder itself."""
    return check_path(data)


def portable(recipe: SegmentationRecipe) -> SegmentationRecipe:
    """With absolute paths of weights and class table."""
    recipe = with_absolute_weights(recipe)
    table = recipe.data.class_table
    if table is None or not Path(table).is_file():
        return recipe
    return recipe.with_part("data", class_table=str(Path(table).resolve()))


def announce(images: MaskedSet, console: Console) -> None:
    """Prints how many pairs and classes there are, and what is not scored."""
    say(
        console,
        f"{images.counts}, {images.class_count}, ignored: {images.classes.ignored_text} "
        f"({images.layout}; {images.split})",
    )
    say_notes(console, images.notes)


def subset(images: MaskedSet, batch_size: int) -> MaskedSet:
    """A few pairs for timing, evenly spread."""
    train, scored = spread(images.train, _TIMED[0]), spread(images.validation, _TIMED[1])
    return dataclasses.replace(images, train=train, validation=scored)
