"""How long the runs of a study will take, and the mode in which they all run, from timing a few steps."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from snellen.data.fingerprint import text_hash
from snellen.engine.budget import evaluation_seconds, step_seconds
from snellen.engine.mode import Mode
from snellen.engine.out_of_memory import memory_explained
from snellen.engine.recipe import CommonRecipe, seconds
from snellen.engine.relevance import step_key
from snellen.tasks.kinds import kind_of


@dataclass(frozen=True)
class Speed:
    """mode: the fastest. train, score: seconds per image for training and for scoring."""

    mode: Mode
    train: float
    score: float

    def seconds(self, recipe: CommonRecipe, train: int, scored: int) -> float:
        """About how long a run of `recipe` takes; decoding is not counted. train, scored: numbers of images."""
        if recipe.budget:
            return seconds(recipe.budget)
        if recipe.trains_on_features:
            return (train + scored) * self.score
        return recipe.epochs * train * self.train + len(recipe.scored_epochs()) * scored * self.score

    def pinned(self, recipe: CommonRecipe) -> CommonRecipe:
        """The recipe in this mode, so that no run measures it again and all runs of a network share it."""
        return recipe.model_copy(update={"hardware": self.mode.fixed(recipe.hardware)})


def step(recipe: CommonRecipe) -> str:
    """A hash that is the same for recipes whose steps take the same time."""
    return step_key(recipe.model_dump(mode="json"))


def network(recipe: CommonRecipe) -> str:
    """A hash that is the same for recipes with the same network on the same hardware, which share one mode."""
    model = recipe.model.model_dump(mode="json")
    name = {key: model[key] for key in ("backbone", "width", "architecture") if key in model}
    return text_hash(json.dumps([name, recipe.hardware.model_dump(mode="json")], sort_keys=True))[:12]


def time_steps(recipe: CommonRecipe, images: Any, console: Console, fixed_mode: Mode | None = None) -> Speed:
    """Times steps and scoring on a few of the images, in the fastest mode, or in `fixed_mode`.

    images: as the recipe's kind reads them. fixed_mode: of earlier runs of the network.
    Raises UserError where training would.
    """
    if fixed_mode is not None:
        recipe = Speed(fixed_mode, 0.0, 0.0).pinned(recipe)
    kind = kind_of(recipe)
    subset = kind.data.subset(images, recipe.batch_size)
    with tempfile.TemporaryDirectory() as folder, console.status(f"timing a few steps of {escape(recipe.name)}"):
        prepared = kind.prepare.prepare(Path(folder), kind.study.timed(recipe), subset, Console(quiet=True), None)
        job = prepared.job
        with memory_explained(recipe, job.feed.device):
            step = step_seconds(job) / min(recipe.batch_size, len(subset.training_files))
            score = evaluation_seconds(job) / job.task.evaluated_images
    return Speed(job.mode, step, score)
