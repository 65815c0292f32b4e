"""Runs of so few optimiser steps that they can hardly learn, and the settings that mend it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from snellen.engine.recipe import CommonRecipe
from snellen.recipe.load import read_fields, validate
from snellen.recipe.text import shipped_names
from snellen.words import counted

_FEW = 30  # steps of a whole run
_ENOUGH = 400  # what is advised
_SMALL_BATCH = 32  # advised where an epoch would else be a single step
_SMALLEST_BATCH = 8  # batch-norm needs some images


def few_steps_note(recipe: CommonRecipe, images: int, settled: bool = False, prefix: str = "") -> str | None:
    """A note on a run with fewer than 30 optimiser steps, or with one step an epoch; None of any other.

    images: the training images' number. settled: whether the steps were chosen on purpose, as in a study with
    fewest_steps; one step an epoch is then no fault. prefix: of the fields, "changes." in a study. A smaller batch is
    advised where an epoch is one step; a plain SGD's rate goes down with it, in proportion (Goyal et al. 2017, arXiv
    1706.02677).
    """
    steps = recipe.steps_in_epoch(images, recipe.batch_size)
    total = recipe.epochs * steps
    if total >= _FEW and (steps > 1 or settled or recipe.trains_on_features):
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
    if not fields:  # nothing but time mends it: there are very few images
        return f"{head}{few}. Give {time}." if time else None
    advice = " ".join(f"{prefix}{key}={_written(value)}" for key, value in fields.items())
    return f"{head}{few}. {advice} would make {counted(epochs * steps, 'step')}{f'; or give {time}' if time else ''}."


def few_steps_notes(recipes: Sequence[tuple[str, CommonRecipe, int]], settled: bool) -> list[str]:
    """Notes on the settings of a study, (name, recipe, training images) of each; equal ones once, with their names."""
    by_note: dict[str, dict[str, None]] = {}
    for name, recipe, images in recipes:
        if (note := few_steps_note(recipe, images, settled, "changes.")) is not None:
            by_note.setdefault(note, {})[name] = None
    return [f"{', '.join(names)}: {note}" for note, names in by_note.items()]


def _batch_of_rate(recipe: CommonRecipe) -> int:
    """The batch size that the learning rate was set for: of a shipped recipe with its own rate, the shipped one."""
    if recipe.name not in shipped_names():
        return recipe.batch_size
    fields, label = read_fields(recipe.name)
    if fields.get("task", recipe.task) != recipe.task:
        return recipe.batch_size
    shipped = validate(type(recipe), fields, label)
    return shipped.batch_size if shipped.optimizer.lr == recipe.optimizer.lr else recipe.batch_size


def _written(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.2g}"


def _batch(recipe: CommonRecipe, images: int, steps: int) -> int:
    """The batch size that is advised: the recipe's own, unless an epoch is a single step of it."""
    if steps > 1 or recipe.whole_batch:
        return recipe.batch_size
    quarter = 1 << int(math.log2(max(1, images / 4)))
    return min(recipe.batch_size, max(_SMALLEST_BATCH, min(_SMALL_BATCH, quarter)))
