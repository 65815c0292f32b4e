"""Which recipe, where the user names none: what the choices of all tasks have in common."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import numpy as np
from rich.console import Console

from snellen.data.decode import UnreadableImageError, kind_and_size
from snellen.engine.recipe import CommonRecipe
from snellen.tasks.setup import say
from snellen.words import counted

AnySample = TypeVar("AnySample")
SMALL_SIDE = 64
_LOOKED_AT = 200
FEWEST_STEPS = {
    "airnet-scratch": 1500,
    "finetune-lite": 400,
    "finetune-large": 600,
    "segment-lite": 800,
    "segment-large": 3000,
    "simclr-small": 2000,
}


@dataclass(frozen=True)
class Choice:
    """name: of a shipped recipe. reason: in words. fields: what of it is set for so few images, by dotted key."""

    name: str
    reason: str
    fields: dict[str, Any]


def for_few_images(name: str, recipe: CommonRecipe, images: int) -> dict[str, Any]:
    """Smaller batches and more epochs, where the recipe's own would be too few steps to learn anything.

    From scratch the learning rate goes down with the batch, in proportion (Goyal et al. 2017, arXiv 1706.02677).
    """
    wanted = FEWEST_STEPS[name]
    if recipe.epochs * images // recipe.batch_size >= wanted:
        return {}
    fields: dict[str, Any] = {}
    batch = recipe.batch_size
    if name == "airnet-scratch":
        batch = min(batch, max(32, 2 ** int(math.log2(max(1, images / 25)))))
        fields = {"batch_size": batch, "optimizer.lr": recipe.optimizer.lr * batch / recipe.batch_size}
    return fields | {"epochs": max(recipe.epochs, math.ceil(wanted * batch / max(1, images)))}


def median_side(paths: Sequence[Path]) -> float:
    """The median of the shorter sides of some of the images, in pixels."""
    sides = []
    for path in paths[:: max(1, len(paths) // _LOOKED_AT)]:
        try:
            sides.append(min(kind_and_size(path)[1:]))
        except UnreadableImageError:
            continue  # reported when it is decoded
    return median(sides) if sides else 224.0


def settle(console: Console, choice: Choice, overrides: Mapping[str, Any], images: int) -> dict[str, Any]:
    """The chosen recipe's fields under the user's own, by dotted key; prints what was chosen, and why.

    images: the training images' number. A budget of the user's settles the epochs in place of the choice.
    """
    fields = {key: value for key, value in choice.fields.items() if key not in overrides}
    if "budget" in overrides:
        fields.pop("epochs", None)
    say(console, f"recipe {choice.name}: {choice.reason}. To see it: snellen recipes show {choice.name}")
    if fields:
        changes = " ".join(f"{key}={_written(value)}" for key, value in fields.items())
        say(console, f"for {counted(images, 'training image')}: {changes}")
    return fields | dict(overrides)


def _written(value: object) -> str:
    """A field's value as it is given on the command line."""
    if value is None:
        return "null"
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def spread(samples: tuple[AnySample, ...], most: int) -> tuple[AnySample, ...]:
    """At most so many, evenly from the whole list."""
    if len(samples) <= most:
        return samples
    return tuple(samples[row] for row in np.linspace(0, len(samples) - 1, most).round().astype(int))
