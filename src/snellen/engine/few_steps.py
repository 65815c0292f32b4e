"""Notes on runs with too few optimiser steps to learn much, and the settings that help."""

from __future__ import annotations

import math
from collections.abc import Sequence

from snellen.engine.recipe import CommonRecipe
from snellen.recipe.load import read_fields, validate
from snellen.recipe.text import RECIPES
from snellen.words import counted

_FEW = 30  # steps of a whole run
_ENOUGH = 400  # recommended
_SMALL_BATCH = 32  # recommended where an epoch would otherwise be a single step
_SMALLEST_BATCH = 8  # batch-norm needs some images


def few_steps_note(recipe: CommonRecipe, images: int, deliberate: bool = False, prefix: str = "") -> str | None:
    """A note on a run with fewer than 30 optimiser steps, or with one step per epoch; None for any other.

    images: number of training images. deliberate: whether the steps were chosen on purpose, as in a study with
    fewest_steps; one step per epoch is then fine. prefix: of the fields, "changes." in a study. A smaller batch is
    recommended if an epoch is one step; the rate of plain SGD goes down in proportion (Goyal et al. 2017, arXiv
    1706.02677).
    """
    steps = recipe.steps_in_epoch(images, recipe.batch_size)
    total = recipe.epochs * steps
    if total >= _FEW and (steps > 1 or deliberate or recipe.trains_on_features):
        return None
    head = f"{counted(recipe.epochs, 'epoch')} of {counted(steps, 'step')}"
    if recipe.batch_size >= images:
        head += f", since batch_size={recipe.batch_size:,} takes all {counted(images, 'training image')} at once"
    batch = _batch(recipe, images, steps)
    fields: dict[str, float] = {}
    if batch < recipe.batch_size:
        fields["batch_size"] = batch
        if recipe.optimizer.name == "sgd":
            fields["optimizer.lr"] = recipe.optimizer.lr * batch / _batch_of_rate(recipe)
        if recipe.accumulation > batch // 2:
            fields["accumulation"] = 1
    steps = recipe.steps_in_epoch(images, batch)
    epochs = recipe.epochs if recipe.budget else max(recipe.epochs, math.ceil(_ENOUGH / steps))
    if epochs > recipe.epochs:
        fields["epochs"] = epochs
    few = ": too few to learn much" if total < _FEW else ""
    time = f"more time than budget={recipe.budget}" if recipe.budget else ""
    if not fields:  # very few images: only more time helps
        return f"{head}{few}. Allow {time}." if time else None
    advice = " ".join(f"{prefix}{key}={_value_text(value)}" for key, value in fields.items())
    return f"{head}{few}. {advice} would make {counted(epochs * steps, 'step')}{f'; or allow {time}' if time else ''}."


def few_steps_notes(recipes: Sequence[tuple[str, CommonRecipe, int]], deliberate: bool) -> list[str]:
    """Notes on the settings of a study, each (name, recipe, training images); identical notes once, with all names."""
    by_note: dict[str, dict[str, None]] = {}
    for name, recipe, images in recipes:
        if (note := few_steps_note(recipe, images, deliberate, "changes.")) is not None:
            by_note.setdefault(note, {})[name] = None
    return [f"{', '.join(names)}: {note}" for note, names in by_note.items()]


def _batch_of_rate(recipe: CommonRecipe) -> int:
    """The batch size that the rate was set for: the shipped one for a shipped recipe that keeps its rate."""
    if recipe.name not in RECIPES.names():
        return recipe.batch_size
    fields, label = read_fields(recipe.name)
    if fields.get("task", recipe.task) != recipe.task:
        return recipe.batch_size
    shipped = validate(type(recipe), fields, label)
    return shipped.batch_size if shipped.optimizer.lr == recipe.optimizer.lr else recipe.batch_size


def _value_text(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.2g}"


def _batch(recipe: CommonRecipe, images: int, steps: int) -> int:
    """The recommended batch size: the recipe's own, unless an epoch would be a single step."""
    if steps > 1 or recipe.whole_batch:
        return recipe.batch_size
    quarter = 1 << int(math.log2(max(1, images / 4)))
    return min(recipe.batch_size, max(_SMALLEST_BATCH, min(_SMALL_BATCH, quarter)))
