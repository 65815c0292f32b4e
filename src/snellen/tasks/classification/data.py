"""The labelled images of a classification run, and a recipe that suits them."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from snellen.data.listing import ImageSet, Source
from snellen.data.masks.sources import is_masked
from snellen.data.sources import read_images
from snellen.data.spread import spread
from snellen.data.table import as_text
from snellen.engine.device import find_device
from snellen.errors import UserError
from snellen.recipe.load import load_as
from snellen.run.directory import RunDirectory
from snellen.run.writer import RunWriter
from snellen.tasks.choice import SMALL_SIDE, Choice, for_few_images, median_side, settle
from snellen.tasks.classification.recipe import Recipe
from snellen.tasks.setup import say, say_notes, with_absolute_weights

_FRAME = "images.tsv"  # the DataFrame that a run was trained on
_TIMED = 600, 300  # training and scored images for timing steps


def recognises(data: Source) -> bool:
    """Whether data may be images in classes: any without masks."""
    return not is_masked(data)


def choose(data: Source, overrides: Mapping[str, Any], console: Console) -> tuple[ImageSet, Recipe]:
    """The images of `data`, and a recipe that suits their size, their number and the hardware."""
    read_with = {key: value for key, value in overrides.items() if key.startswith(("data.", "hardware."))}
    partial = load_as(Recipe, {}, read_with)
    images = read_images(data, partial.data)
    choice = suggest(images.training_files, gpu=find_device(partial.hardware).type != "cpu")
    fields = settle(console, choice, overrides, len(images.train))
    return images, load_as(Recipe, choice.name, fields)


def suggest(paths: Sequence[Path], gpu: bool) -> Choice:
    """A recipe that suits the size and number of the training images and the hardware."""
    side = median_side(paths)
    if side <= SMALL_SIDE:
        name, reason = "airnet-scratch", f"the images are small (shorter side {side:.0f} px)"
    elif gpu:
        name, reason = "finetune-large", f"the images' shorter side is {side:.0f} px and there is a GPU"
    else:
        name, reason = "finetune-lite", f"the images' shorter side is {side:.0f} px and there is no GPU"
    return Choice(name, reason, for_few_images(name, load_as(Recipe, name), len(paths)))


def read(data: Source, recipe: Recipe) -> ImageSet:
    """The labelled images of `data`."""
    try:
        return read_images(data, recipe.data)
    except UserError as error:
        if is_masked(data):
            raise UserError(
                f"{error}\nThese are images with masks, and {recipe.name} is for images in classes. To train on the "
                f"masks: snellen train segment-lite {data}"
            ) from error
        raise


def read_again(run: RunDirectory, recipe: Recipe) -> ImageSet:
    """The labelled images that a run was trained on."""
    frame = run.path / _FRAME
    if frame.is_file():
        return read_images(frame, recipe.data, Path(run.data["root"]))
    return read_images(run.data["source"], recipe.data)


def keep_source(data: Source, writer: RunWriter) -> str | Path:
    """The path itself; a DataFrame is written into the run's folder."""
    if isinstance(data, str | Path):
        return data
    writer.text(_FRAME, as_text(data).to_csv(sep="\t", index=False, quoting=csv.QUOTE_ALL))
    return writer.path / _FRAME


def portable(recipe: Recipe) -> Recipe:
    """With the absolute path of its weights."""
    return with_absolute_weights(recipe)


def announce(images: ImageSet, console: Console) -> None:
    """Prints how many images and classes there are."""
    say(console, f"{images.counts}, {images.class_count} ({images.layout}; {images.split})")
    say_notes(console, images.notes)


def subset(images: ImageSet, batch_size: int) -> ImageSet:
    """A few images for timing, evenly spread so that all classes are likely to be present."""
    train, scored = spread(images.train, _TIMED[0]), spread(images.validation, _TIMED[1])
    return dataclasses.replace(images, train=train, validation=scored)
