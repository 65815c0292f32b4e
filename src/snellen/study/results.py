"""The results of a study: from its runs, through the statistics, to plain dataclasses."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from snellen.engine.recipe import CommonRecipe
from snellen.errors import UserError
from snellen.insight.decision import winner
from snellen.insight.groups import only, share
from snellen.insight.moderation import NOTHING_KNOWN, Prior
from snellen.insight.power import FEWEST_SEEDS_TO_PLAN, Needed, needed
from snellen.insight.proportions import Interval
from snellen.insight.seeds import OverSeeds
from snellen.insight.settings import Scores, compare, expected_by_setting, unit_degrees
from snellen.reporting.headline import scored_samples
from snellen.runs import Run
from snellen.study.directory import StudyDirectory
from snellen.tasks.kind import Judged

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Cell:
    """One setting with one share of the labels: its finished runs, by seed.

    recipe: of the first run. measure: what is compared. judged: the runs' values, image by image. expected: what the
    seeds of the other settings suggest.
    """

    setting: str
    fraction: float
    runs: dict[int, Run]
    recipe: CommonRecipe
    measure: str
    judged: Judged
    expected: Prior = NOTHING_KNOWN

    @property
    def kind(self) -> str:
        """How much of the network is trained, which determines how much another seed changes the result."""
        return "head only" if self.recipe.trains_head_only else "whole network trained"

    @property
    def scores(self) -> Scores:
        """The values by which settings are compared."""
        judged = self.judged
        degrees = unit_degrees(judged.groups) if judged.degrees is None else judged.degrees
        return Scores(tuple(self.runs), judged.values, judged.correct, self.kind, self.fraction, degrees)

    @cached_property
    def over(self) -> OverSeeds:
        """Mean of the measure over seeds and images."""
        over = self.scores.uncertainty(self.expected).over
        return over if self.judged.too_few is None else _untested(over)

    @property
    def interval(self) -> Interval | None:
        """95% interval of the mean: for top-1 with one seed, Wilson's. None if there are too few images for one."""
        if self.judged.of_one is not None:
            return self.judged.of_one
        if len(self.runs) == 1 and self.judged.correct is not None:
            return share(self.judged.correct[0], self.judged.groups)
        interval = self.over.interval
        return None if interval is None else Interval(max(0.0, interval.low), min(1.0, interval.high))

    @property
    def by_seed(self) -> list[float]:
        """The measure of each seed."""
        return [float(value) for value in self.judged.values.mean(1)]

    @property
    def no_interval(self) -> str | None:
        """Why there is no interval, such as "only 2 groups"; None if there is one."""
        if self.judged.too_few is not None:
            return self.judged.too_few
        what = "image" if self.judged.groups is None else "group"
        return only(self.over.images, what) if self.over.interval is None else None

    @property
    def seconds(self) -> float:
        """Training and scoring, the mean over the seeds."""
        return float(np.mean([run.status.seconds for run in self.runs.values()]))

    @property
    def labelled_images(self) -> int:
        """To train on."""
        return int(self.first.data["counts"]["train"])

    @property
    def seed_share(self) -> float | None:
        """Of the mean's variance, what comes from the seeds; None for too few to tell."""
        return self.over.seed_share if len(self.runs) >= FEWEST_SEEDS_TO_PLAN else None

    @property
    def first(self) -> Run:
        """The run of the first seed."""
        return next(iter(self.runs.values()))

    def as_dict(self) -> dict[str, Any]:
        """For tables and JSON."""
        environment = self.first.environment
        return {
            "setting": self.setting,
            "fraction": self.fraction,
            "labelled_images": self.labelled_images,
            "seeds": len(self.runs),
            "images": self.judged.images,
            "measure": self.measure,
            "mean": self.over.mean,
            "over_classes": self.judged.over_classes,
            "low": None if self.interval is None else self.interval.low,
            "high": None if self.interval is None else self.interval.high,
            "seed_share": self.seed_share,
            "kept_mean": self.judged.kept,
            "runs_not_learnt": len(self.judged.not_learnt),
            "seconds": self.seconds,
            "parameters": environment.parameters,
            "trainable_parameters": environment.trainable_parameters,
            "macs": environment.macs,
        }


@dataclass(frozen=True)
class Pair:
    """Two settings with the same share of the labels, image by image.

    over: A's measure minus B's. p_holm: corrected for all pairs of the study, None if there is no test. needed:
    what would make it more certain. is_paired: by seed as well as by image; otherwise over all seeds of both.
    """

    a: Cell
    b: Cell
    over: OverSeeds
    p_holm: float | None
    needed: Needed
    is_paired: bool = True

    @property
    def not_learnt(self) -> list[str]:
        """Which of the two settings have not learnt: a difference from such a setting means nothing."""
        return [cell.setting for cell in (self.a, self.b) if cell.judged.not_learnt]

    @property
    def better(self) -> Cell | None:
        """The better one; None if they cannot be told apart, or if one has not learnt."""
        decision = 0 if self.not_learnt else winner(self.over.mean, self.p_holm)
        return {1: self.a, -1: self.b}.get(decision)

    @property
    def verdict(self) -> str:
        """The name of the better setting, or why there is none, in words."""
        if self.better is not None:
            return self.better.setting
        return "not learnt" if self.not_learnt else self.a.no_interval or "cannot be told apart"


@dataclass(frozen=True)
class Results:
    """cells, pairs: in the order of the plan. missing: folders of runs that are not finished."""

    study: StudyDirectory
    cells: list[Cell]
    pairs: list[Pair]
    missing: list[str]

    @property
    def measure(self) -> str:
        """What is compared."""
        return self.cells[0].measure

    @property
    def settings(self) -> list[str]:
        """Names, in the order of the plan."""
        return list(dict.fromkeys(cell.setting for cell in self.cells))

    @property
    def fractions(self) -> list[float]:
        """Shares of the labels, from small to large."""
        return sorted({cell.fraction for cell in self.cells})

    def table(self) -> pd.DataFrame:
        """One row for each cell."""
        numbers = dict.fromkeys(("low", "high", "seed_share", "kept_mean"), float)
        return pd.DataFrame([cell.as_dict() for cell in self.cells]).astype(numbers)

    def at(self, fraction: float) -> list[Cell]:
        """The settings with this share of the labels."""
        return [cell for cell in self.cells if cell.fraction == fraction]


def read_results(study: StudyDirectory) -> Results:
    """Figures of a study from its finished runs. Raises UserError if none is finished."""
    cells, missing = [], []
    for setting, fraction in dict.fromkeys((run.setting, run.fraction) for run in study.runs):
        planned = [run for run in study.runs if (run.setting, run.fraction) == (setting, fraction)]
        missing += [run.path.name for run in planned if run.state != "finished"]
        runs = {run.seed: Run(run.path) for run in planned if run.state == "finished"}
        if runs:
            cells.append(_cell(setting, fraction, runs))
    if not cells:
        raise UserError(f"{study.path}: no run of this study is finished yet. The same `snellen compare` resumes it.")
    for cell in cells[1:]:
        if _scored_paths(cell) != _scored_paths(cells[0]):
            raise UserError(f"{cell.first.path}: it was not scored on the same images as the other runs.")
    cells = _moderated(cells)
    return Results(study, cells, _pairs(cells), missing)


def _untested(over: OverSeeds) -> OverSeeds:
    """The mean alone, for masks of too few images."""
    return dataclasses.replace(over, interval=None, p_value=None)


def _within(over: OverSeeds) -> OverSeeds:
    """Clips an interval to [-1, 1], the range of a difference of two shares."""
    if over.interval is None:
        return over
    interval = Interval(max(-1.0, over.interval.low), min(1.0, over.interval.high))
    return dataclasses.replace(over, interval=interval)


def _scored_paths(cell: Cell) -> list[str]:
    paths: list[str] = scored_samples(cell.first)["path"].tolist()
    return paths


def _cell(setting: str, fraction: float, runs: dict[int, Run]) -> Cell:
    first = next(iter(runs.values()))
    judged = first.kind.study.judge([*runs.values()])
    return Cell(setting, fraction, runs, first.recipe, first.kind.measure, judged)


def judged_without(study: StudyDirectory, cells: Sequence[Cell], left_out: Mapping[float, Bools]) -> Results:
    """The results of a study without some of its scored images: priors, tests and corrections are those of the others.

    left_out: (N,) for each share of the labels, not all of its images.
    """
    cells = [
        dataclasses.replace(cell, judged=cell.first.kind.study.judge([*cell.runs.values()], left_out[cell.fraction]))
        for cell in cells
    ]
    cells = _moderated(cells)
    return Results(study, cells, _pairs(cells), [])


def _moderated(cells: list[Cell]) -> list[Cell]:
    expected = expected_by_setting([cell.scores for cell in cells])
    return [dataclasses.replace(cell, expected=prior) for cell, prior in zip(cells, expected, strict=True)]


def _pairs(cells: Sequence[Cell]) -> list[Pair]:
    compared = compare([cell.scores for cell in cells], [cell.expected for cell in cells])
    if any(cell.judged.too_few for cell in cells):
        compared = [dataclasses.replace(pair, over=_untested(pair.over), p_holm=None) for pair in compared]
    tests = sum(pair.p_holm is not None for pair in compared)
    return [
        Pair(
            cells[pair.a],
            cells[pair.b],
            _within(pair.over),
            pair.p_holm,
            needed(pair.uncertainty, tests),
            pair.is_paired,
        )
        for pair in compared
    ]
