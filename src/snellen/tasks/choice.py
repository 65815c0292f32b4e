"""Choosing a recipe if the user names none: the part that all tasks share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console

from snellen.data.decode import UnreadableImageError, kind_and_size
from snellen.engine.recipe import CommonRecipe
from snellen.tasks.setup import say
from snellen.words import counted

SMALL_SIDE = 64
_SAMPLED = 200  # images whose size is read
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
    """name: of a shipped recipe. reason: as text. fields: changes to it for few images, by dotted key."""

    name: str
    reason: str
    fields: dict[str, Any]


def for_few_images(name: str, recipe: CommonRecipe, images: int) -> dict[str, Any]:
    """Smaller batches and more epochs if the recipe's own would give too few steps to learn anything.

    From scratch the learning rate goes down with the batch, in proportion (Goyal et al. 2017, arXiv 1706.02677).
    """
    fewest_steps = FEWEST_STEPS[name]
    if recipe.epochs * images // recipe.batch_size >= fewest_steps:
        return {}
    fields: dict[str, Any] = {}
    batch = recipe.batch_size
    if name == "airnet-scratch":
        batch = min(batch, max(32, 2 ** int(math.log2(max(1, images / 25)))))
        fields = {"batch_size": batch, "optimizer.lr": recipe.optimizer.lr * batch / recipe.batch_size}
    return fields | {"epochs": max(recipe.epochs, math.ceil(fewest_steps * batch / max(1, images)))}


def median_side(paths: Sequence[Path]) -> float:
    """The median of the shorter sides of some of the images, in pixels; 224 if none can be read."""
    sides = []
    for path in paths[:: max(1, len(paths) // _SAMPLED)]:
        try:
            sides.append(min(kind_and_size(path)[1:]))
        except UnreadableImageError:
            continue  # decoding reports it
    return median(sides) if sides else 224.0


def settle(console: Console, choice: Choice, overrides: Mapping[str, Any], images: int) -> dict[str, Any]:
    """The fields of the choice, overridden by the user's, by dotted key; prints the choice and its reason.

    images: number of training images. If the user sets a budget, it determines the epochs.
    """
    fields = {key: value for key, value in choice.fields.items() if key not in overrides}
    if "budget" in overrides:
        fields.pop("epochs", None)
    say(console, f"recipe {choice.name}: {choice.reason}. To see it: snellen recipes show {choice.name}")
    if fields:
        changes = " ".join(f"{key}={_value_text(value)}" for key, value in fields.items())
        say(console, f"for {counted(images, 'training image')}: {changes}")
    return fields | dict(overrides)


def _value_text(value: object) -> str:
    """A field's value as written on the command line."""
    if value is None:
        return "null"
    return f"{value:g}" if isinstance(value, int | float) else str(value)
