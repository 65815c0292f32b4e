"""How long the runs of a study will take, and the mode that they all run in, from timing a few steps."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from rich.console import Console
from rich.markup import escape

from snellen.data.fingerprint import text_hash
from snellen.data.listing import ImageSet
from snellen.data.masks.sources import MaskedSet
from snellen.data.unlabelled import UnlabelledSet
from snellen.engine.budget import evaluation_seconds, step_seconds
from snellen.engine.loop import Job
from snellen.engine.out_of_memory import memory_explained
from snellen.engine.precision import Mode
from snellen.engine.recipe import seconds
from snellen.recipe.load import apply_overrides
from snellen.study.plan import TrainedRecipe
from snellen.tasks.classification.prepare import prepare
from snellen.tasks.classification.recipe import Recipe
from snellen.tasks.pretraining.prepare import prepare_pretraining
from snellen.tasks.pretraining.recipe import PretrainingRecipe
from snellen.tasks.segmentation.prepare import prepare_segmentation

_TRAINING_IMAGES, _SCORED_IMAGES = 600, 300  # of masks a tenth
AnySample = TypeVar("AnySample")
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

    def seconds(self, recipe: TrainedRecipe, images: ImageSet | MaskedSet) -> float:
        """What a run of `recipe` on `images` takes, about; decoding is not counted."""
        if recipe.budget:
            return seconds(recipe.budget)
        trained, scored = round(recipe.data.fraction * len(images.train)), len(images.validation)
        if isinstance(recipe, Recipe) and recipe.model.cached:
            return (trained + scored) * self.score
        return recipe.epochs * trained * self.train + len(scored_epochs(recipe)) * scored * self.score

    def pinned(self, recipe: TrainedRecipe) -> TrainedRecipe:
        """The recipe in this mode, so that no run has to measure it again and all of a kind have the same."""
        return recipe.model_copy(update={"hardware": self.mode.fixed(recipe.hardware)})


def kind(recipe: TrainedRecipe) -> str:
    """A hash that is the same for recipes whose steps take the same time."""
    fields = recipe.model_dump(mode="json")
    return text_hash(json.dumps(apply_overrides(fields, _IRRELEVANT), sort_keys=True))[:12]


def network(recipe: TrainedRecipe) -> str:
    """A hash that is the same for recipes with the same network on the same hardware, which share one mode."""
    model = recipe.model.model_dump(mode="json")
    name = {key: model[key] for key in ("backbone", "width", "architecture") if key in model}
    return text_hash(json.dumps([name, recipe.hardware.model_dump(mode="json")], sort_keys=True))[:12]


def time_steps(
    recipe: TrainedRecipe, images: ImageSet | MaskedSet, console: Console, settled: Mode | None = None
) -> Speed:
    """Times steps and scoring on a few of the images, in the fastest mode, or in one that was settled before.

    Raises UserError where training would.
    """
    if settled is not None:
        recipe = Speed(settled, 0.0, 0.0).pinned(recipe)
    some = _some(images)
    model = recipe.model.model_copy(update={"weights": None})
    data = recipe.data.model_copy(update={"fraction": 1.0})
    plain = recipe.model_copy(update={"model": model, "data": data, "budget": None})
    with tempfile.TemporaryDirectory() as folder, console.status(f"timing a few steps of {escape(recipe.name)}"):
        job = _job(Path(folder), plain, some)
        with memory_explained(recipe, job.feed.device):
            step = step_seconds(job) / min(recipe.batch_size, len(some.train))
            score = evaluation_seconds(job) / job.task.evaluated_images
    return Speed(job.mode, step, score)


def pretraining_seconds(recipe: PretrainingRecipe, images: UnlabelledSet, console: Console) -> float:
    """What a pretraining takes, about, from timing a few of its steps. Raises UserError where pretraining would."""
    if recipe.budget:
        return seconds(recipe.budget)
    some = dataclasses.replace(images, paths=_spread(images.paths, max(_TRAINING_IMAGES, 2 * recipe.batch_size)))
    evaluation = recipe.evaluation.model_copy(update={"data": None})
    model = recipe.model.model_copy(update={"weights": None})
    plain = recipe.model_copy(update={"model": model, "evaluation": evaluation})
    with tempfile.TemporaryDirectory() as folder, console.status(f"timing a few steps of {escape(recipe.name)}"):
        job = prepare_pretraining(Path(folder), plain, some, Console(quiet=True), recorded=None).job
        with memory_explained(recipe, job.feed.device):
            step = step_seconds(job) / min(recipe.batch_size, len(some.paths))
    return recipe.epochs * len(images.paths) * step


def _job(folder: Path, recipe: TrainedRecipe, images: ImageSet | MaskedSet) -> Job:
    quiet = Console(quiet=True)
    if isinstance(recipe, Recipe):
        assert isinstance(images, ImageSet)
        whole = recipe.model.model_copy(update={"cached": False})  # what is timed is a pass through the backbone
        recipe = recipe.model_copy(update={"model": whole, "sweep": ()})
        return prepare(folder, recipe, images, quiet, recorded=None).job
    assert isinstance(images, MaskedSet)
    return prepare_segmentation(folder, recipe, images, quiet, recorded=None).job


def _some(images: ImageSet | MaskedSet) -> ImageSet | MaskedSet:
    if isinstance(images, MaskedSet):
        pairs = _spread(images.train, _TRAINING_IMAGES // 10), _spread(images.validation, _SCORED_IMAGES // 10)
        return dataclasses.replace(images, train=pairs[0], validation=pairs[1])
    sides = _spread(images.train, _TRAINING_IMAGES), _spread(images.validation, _SCORED_IMAGES)
    return dataclasses.replace(images, train=sides[0], validation=sides[1])


def _spread(samples: tuple[AnySample, ...], most: int) -> tuple[AnySample, ...]:
    """At most so many, evenly from the whole list, so that all classes are likely to be there."""
    if len(samples) <= most:
        return samples
    return tuple(samples[row] for row in np.linspace(0, len(samples) - 1, most).round().astype(int))
