"""The unlabelled images of a pretraining run, and a recipe that suits them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from snellen.data.given import check_path
from snellen.data.listing import Source
from snellen.data.spread import spread
from snellen.data.unlabelled import UnlabelledSet, read_unlabelled
from snellen.recipe.load import load_as
from snellen.run.directory import RunDirectory
from snellen.run.writer import RunWriter
from snellen.tasks.choice import FEWEST_STEPS, SMALL_SIDE, Choice, median_side, settle
from snellen.tasks.pretraining.recipe import PretrainingRecipe
from snellen.tasks.setup import absolute, say, say_notes, with_absolute_weights
from snellen.words import counted

_TIMED = 600  # images for timing steps


def recognises(data: Source) -> bool:
    """False: any images could be used without labels, but labelled images are never meant for that."""
    return False


def choose(data: Source, overrides: Mapping[str, Any], console: Console) -> tuple[UnlabelledSet, PretrainingRecipe]:
    """The images of `data`, and a recipe that suits their size and number."""
    images = read_unlabelled(check_path(data))
    choice = suggest(images.training_files)
    fields = settle(console, choice, overrides, len(images.paths))
    return images, load_as(PretrainingRecipe, choice.name, fields)


def suggest(paths: Sequence[Path]) -> Choice:
    """A recipe that suits the size and number of the images."""
    name, side = "simclr-small", median_side(paths)
    recipe = load_as(PretrainingRecipe, name)
    steps = recipe.steps_in_epoch(len(paths), recipe.batch_size)
    too_few = recipe.epochs * steps < FEWEST_STEPS[name]
    fields: dict[str, Any] = {"epochs": math.ceil(FEWEST_STEPS[name] / steps)} if too_few else {}
    if side <= SMALL_SIDE:
        return Choice(name, f"the images are small (shorter side {side:.0f} px)", fields)
    larger = {"augmentation.size": 96, "evaluation.size": 96, "model.backbone": "resnet18"}
    return Choice(name, f"the images' shorter side is {side:.0f} px", larger | fields)


def read(data: Source, recipe: PretrainingRecipe) -> UnlabelledSet:
    """The images of `data`, without their labels."""
    return read_unlabelled(check_path(data))


def read_again(run: RunDirectory, recipe: PretrainingRecipe) -> UnlabelledSet:
    """The images that a run was trained on."""
    return read_unlabelled(run.data["source"])


def keep_source(data: Source, writer: RunWriter) -> str | Path:
    """The path itself."""
    return check_path(data)


def portable(recipe: PretrainingRecipe) -> PretrainingRecipe:
    """With absolute paths of weights and labelled images."""
    recipe = with_absolute_weights(recipe)
    if recipe.evaluation.data is None:
        return recipe
    return recipe.with_part("evaluation", data=absolute(recipe.evaluation.data))


def announce(images: UnlabelledSet, console: Console) -> None:
    """Prints how many images there are."""
    say(console, f"{counted(len(images.paths), 'image')} without labels ({images.layout})")
    say_notes(console, images.notes)


def subset(images: UnlabelledSet, batch_size: int) -> UnlabelledSet:
    """A few images for timing, evenly spread: at least two batches, since incomplete ones are dropped."""
    return dataclasses.replace(images, paths=spread(images.paths, max(_TIMED, 2 * batch_size)))
