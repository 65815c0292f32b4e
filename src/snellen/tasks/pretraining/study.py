"""What a study needs from pretraining, which comes before the compared runs and is not compared itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from snellen.data.unlabelled import UnlabelledSet
from snellen.insight.proportions import Interval
from snellen.reporting.runs import RunView
from snellen.run.directory import RunDirectory
from snellen.tasks.pretraining.recipe import PretrainingRecipe


def build_network(recipe: PretrainingRecipe, images: UnlabelledSet) -> None:
    """Does nothing: the weights are read when pretraining begins, before any other run."""


def timed(recipe: PretrainingRecipe) -> PretrainingRecipe:
    """From scratch, without evaluation on labelled images."""
    recipe = recipe.with_part("model", weights=None).with_part("evaluation", data=None)
    return recipe.model_copy(update={"budget": None})


def judge(runs: Sequence[RunDirectory], left_out: NDArray[np.bool_] | None = None) -> NoReturn:
    """Its runs are in no study."""
    raise NotImplementedError("a study compares no pretraining runs")


def score_without_leaked(
    runs: Sequence[RunDirectory], leaked: NDArray[np.bool_], interval: Interval | None
) -> NoReturn:
    """Its runs are in no study."""
    raise NotImplementedError("a study compares no pretraining runs")


def mistake(runs: Sequence[RunDirectory], row: int) -> NoReturn:
    """Its runs are in no study."""
    raise NotImplementedError("a study compares no pretraining runs")


def sections(views: Sequence[RunView], most: int) -> NoReturn:
    """Its runs are in no study."""
    raise NotImplementedError("a study compares no pretraining runs")
