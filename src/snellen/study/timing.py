"""How long the runs of a study will take, and the mode that they all run in, from timing a few steps."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from snellen.data.sources import ImageSet
from snellen.engine.budget import evaluation_seconds, step_seconds
from snellen.engine.precision import Mode
from snellen.recipe.load import apply_overrides
from snellen.recipe.schema import Recipe, seconds
from snellen.tasks.preparation import fewer, prepare

_TRAINING_IMAGES, _SCORED_IMAGES = 600, 300
# What has no part in the speed of a step.
_IRRELEVANT: dict[str, Any] = {
    "name": "",
    "seed": 0,
    "epochs": 1,
    "budget": None,
    "data": {},
    "loss": {},
    "schedule": {},
    "snapshots": {},
    "sweep": [],
    "model.weights": None,
    "model.cached": False,
    "optimizer.lr": 1.0,
}


@dataclass(frozen=True)
class Speed:
    """mode: the fastest. train, score: seconds for each image that is trained on, that is scored."""

    mode: Mode
    train: float
    score: float

    def seconds(self, recipe: Recipe, images: ImageSet) -> float:
        """What a run of `recipe` on `images` takes, about; decoding is not counted."""
        if recipe.budget:
            return seconds(recipe.budget)
        trained, scored = len(fewer(images, recipe.data.fraction, recipe.seed).train), len(images.validation)
        if recipe.model.cached:
            return (trained + scored) * self.score
        return recipe.epochs * (trained * self.train + scored * self.score / recipe.evaluation.every)

    def pinned(self, recipe: Recipe) -> Recipe:
        """The recipe in this mode, so that no run has to measure it again and all of a kind have the same."""
        mode = {
            "precision": self.mode.precision,
            "channels_last": self.mode.channels_last,
            "compile": self.mode.compiled,
            "unfold": self.mode.unfolded,
        }
        return recipe.model_copy(update={"hardware": recipe.hardware.model_copy(update=mode)})


def kind(recipe: Recipe) -> str:
    """The same text for recipes whose steps take the same time."""
    return json.dumps(apply_overrides(recipe.model_dump(mode="json"), _IRRELEVANT), sort_keys=True)


def time_steps(recipe: Recipe, images: ImageSet, console: Console) -> Speed:
    """Times steps and scoring on a few of the images. Raises UserError where training would."""
    some = dataclasses.replace(
        images, train=_spread(images.train, _TRAINING_IMAGES), validation=_spread(images.validation, _SCORED_IMAGES)
    )
    model = recipe.model.model_copy(update={"weights": None, "cached": False})
    data = recipe.data.model_copy(update={"fraction": 1.0})
    plain = recipe.model_copy(update={"model": model, "data": data, "budget": None, "sweep": ()})
    quiet = Console(quiet=True)
    with tempfile.TemporaryDirectory() as folder, console.status(f"timing a few steps of {recipe.name}"):
        job = prepare(Path(folder), plain, some, quiet, recorded=None).job
        train = step_seconds(job) / min(recipe.batch_size, len(some.train))
        score = evaluation_seconds(job) / job.task.evaluated_images
    return Speed(job.mode, train, score)


def _spread(samples: tuple[Any, ...], most: int) -> tuple[Any, ...]:
    """At most so many, evenly from the whole list, so that all classes are likely to be there."""
    if len(samples) <= most:
        return samples
    return tuple(samples[row] for row in np.linspace(0, len(samples) - 1, most).round().astype(int))
