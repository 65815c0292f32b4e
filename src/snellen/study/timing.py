"""Estimates how long the runs of a study take, and finds the mode they all use, by timing a few steps."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape

from snellen.engine.budget import evaluation_seconds, step_seconds
from snellen.engine.mode import Mode
from snellen.engine.out_of_memory import memory_explained
from snellen.engine.recipe import CommonRecipe, seconds
from snellen.tasks.arithmetic import in_mode
from snellen.tasks.kinds import kind_of


@dataclass(frozen=True)
class Speed:
    """mode: the fastest. train, score: seconds per image for training and for scoring. threads: of the process."""

    mode: Mode
    train: float
    score: float
    threads: int

    def seconds(self, recipe: CommonRecipe, train: int, scored: int) -> float:
        """About how long a run of `recipe` takes; decoding is not counted. train, scored: numbers of images."""
        if recipe.budget:
            return seconds(recipe.budget)
        if recipe.trains_on_features:
            return (train + scored) * self.score
        return recipe.epochs * train * self.train + len(recipe.scored_epochs()) * scored * self.score


def time_steps(recipe: CommonRecipe, images: Any, console: Console, fixed_mode: Mode | None = None) -> Speed:
    """Times steps, and scoring unless it is a pretraining, on a few of the images: in the fastest or in `fixed_mode`.

    images: as the recipe's kind reads them. fixed_mode: of earlier runs of the network.
    Raises UserError where training would.
    """
    if fixed_mode is not None:
        recipe = in_mode(recipe, fixed_mode)
    kind = kind_of(recipe)
    subset = kind.data.subset(images, recipe.batch_size)
    with tempfile.TemporaryDirectory() as folder, console.status(f"timing a few steps of {escape(recipe.name)}"):
        prepared = kind.prepare.prepare(Path(folder), kind.study.timed(recipe), subset, Console(quiet=True), None)
        job = prepared.job
        with memory_explained(recipe, job.feed.device):
            step = step_seconds(job) / min(recipe.batch_size, len(subset.training_files))
            score = evaluation_seconds(job) / job.task.evaluated_images
    return Speed(job.mode, step, score, torch.get_num_threads())
