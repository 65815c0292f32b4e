"""What a study found: from its runs, through the statistics, to plain dataclasses."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from snellen.errors import UserError
from snellen.insight.classification import figures
from snellen.insight.decision import winner
from snellen.insight.groups import share
from snellen.insight.learning import why_masks_not_learnt, why_not_learnt
from snellen.insight.mask_words import over_classes
from snellen.insight.moderation import NOTHING_KNOWN, Prior
from snellen.insight.power import FEWEST_SEEDS_TO_PLAN, Needed, needed
from snellen.insight.proportions import Interval, wilson
from snellen.insight.seeds import OverSeeds
from snellen.insight.segmentation import mask_figures, miou, miou_by_unit, miou_degrees
from snellen.insight.settings import Scores, by_unit, compare, expected_by_setting, unit_degrees
from snellen.insight.support import support
from snellen.reporting.headline import (
    ClassValues,
    class_predictions,
    class_values,
    groups_of,
    mask_predictions,
    mask_values,
    scored_samples,
)
from snellen.run.directory import ImagePredictions, Run
from snellen.study.directory import Study
from snellen.study.kinds import kind_of_training
from snellen.tasks.pretraining.recipe import PretrainingRecipe
from snellen.words import counted


@dataclass(frozen=True)
class Cell:
    """One setting with one share of the labels: its finished runs, by seed.

    values: (S, U) of each seed and image (or group of images); a seed's mean is its measure. correct: (S, N) which
    scored images each run has right; None for masks. images: N. groups: (N,), None where images stand alone. expected:
    what the seeds of the other settings say. not_learnt: why, for each run that has not learnt. kept: mean of the kept
    weights' own measure where epochs were chosen by it (values are cross-fitted then), else None. Of masks:
    over_classes: those that the mIoU is over, by name, where some are in too few images. too_few: why there is no
    interval. of_one: where there is a single run, the interval of its own page. degrees: of freedom of its images.
    """

    setting: str
    fraction: float
    runs: dict[int, Run]
    values: NDArray[np.float64]
    correct: NDArray[np.bool_] | None
    images: int
    groups: NDArray[np.int64] | None = None
    expected: Prior = NOTHING_KNOWN
    not_learnt: tuple[str, ...] = ()
    kept: float | None = None
    over_classes: str | None = None
    too_few: str | None = None
    of_one: Interval | None = None
    degrees: float | None = None

    @property
    def kind(self) -> str:
        """How much of the network is trained, which decides how much another seed changes."""
        recipe = self.first.recipe
        assert not isinstance(recipe, PretrainingRecipe)
        return kind_of_training(recipe)

    @property
    def scores(self) -> Scores:
        """For comparing it with others."""
        degrees = unit_degrees(self.groups) if self.degrees is None else self.degrees
        return Scores(tuple(self.runs), self.values, self.correct, self.kind, self.fraction, degrees)

    @cached_property
    def over(self) -> OverSeeds:
        """Mean of the measure over seeds and images."""
        over = self.scores.doubt(self.expected).over
        return over if self.too_few is None else _untested(over)

    @property
    def interval(self) -> Interval | None:
        """95% interval of the mean: for top-1 with one seed, Wilson's. None where there are too few images for one."""
        if self.of_one is not None:
            return self.of_one
        if len(self.runs) == 1 and self.correct is not None:
            if self.groups is not None:
                return share(self.correct[0], self.groups)
            return wilson(int(self.correct.sum()), self.images)
        found = self.over.interval
        return None if found is None else Interval(max(0.0, found.low), min(1.0, found.high))

    @property
    def by_seed(self) -> list[float]:
        """The measure of each seed by itself."""
        return [float(value) for value in self.values.mean(1)]

    @property
    def no_interval(self) -> str | None:
        """Why there is no interval, such as "only 2 groups"; None where there is one."""
        if self.too_few is not None:
            return self.too_few
        what = "image" if self.groups is None else "group"
        return f"only {counted(self.over.images, what)}" if self.over.interval is None else None

    @property
    def measure(self) -> str:
        """What is compared: top-1 or mIoU."""
        return "mIoU" if self.correct is None else "top-1"

    @property
    def seconds(self) -> float:
        """Training and scoring, the mean over the seeds."""
        spent = [run.status["seconds_training"] + run.status["seconds_evaluating"] for run in self.runs.values()]
        return float(np.mean(spent))

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
            "labelled_images": int(self.first.data["counts"]["train"]),
            "seeds": len(self.runs),
            "images": self.images,
            "measure": self.measure,
            "mean": self.over.mean,
            "over_classes": self.over_classes,
            "low": None if self.interval is None else self.interval.low,
            "high": None if self.interval is None else self.interval.high,
            "seed_share": self.over.seed_share if len(self.runs) >= FEWEST_SEEDS_TO_PLAN else None,
            "kept_mean": self.kept,
            "runs_not_learnt": len(self.not_learnt),
            "seconds": self.seconds,
            "parameters": environment["parameters"],
            "trainable_parameters": environment["trainable_parameters"],
            "macs": environment["macs"],
        }


@dataclass(frozen=True)
class Pair:
    """Two settings with the same share of the labels, image by image.

    over: of A's measure minus B's. p_holm: corrected for all pairs of the study, None where there is no test. needed:
    what would make it surer. is_paired: seed by seed too; else over all seeds of both.
    """

    a: Cell
    b: Cell
    over: OverSeeds
    p_holm: float | None
    needed: Needed
    is_paired: bool = True

    @property
    def not_learnt(self) -> list[str]:
        """The settings of the two that have not learnt: nothing follows from a difference to them."""
        return [cell.setting for cell in (self.a, self.b) if cell.not_learnt]

    @property
    def better(self) -> Cell | None:
        """The better one; None where they cannot be told apart, or where one has not learnt."""
        decision = 0 if self.not_learnt else winner(self.over.mean, self.p_holm)
        return {1: self.a, -1: self.b}.get(decision)


@dataclass(frozen=True)
class Results:
    """cells, pairs: in the order of the plan. missing: folders of runs that are not finished."""

    study: Study
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


def read_results(study: Study) -> Results:
    """Figures of a study from its finished runs. Raises UserError when none is finished."""
    cells, missing = [], []
    for setting, fraction in dict.fromkeys((run.setting, run.fraction) for run in study.runs):
        planned = [run for run in study.runs if (run.setting, run.fraction) == (setting, fraction)]
        missing += [run.path.name for run in planned if run.state != "finished"]
        runs = {run.seed: Run(run.path) for run in planned if run.state == "finished"}
        if runs:
            cells.append(_cell(setting, fraction, runs))
    if not cells:
        raise UserError(f"{study.path}: no run of this study is finished yet; the same `snellen compare` goes on.")
    for cell in cells[1:]:
        if _scored_paths(cell) != _scored_paths(cells[0]):
            raise UserError(f"{cell.first.path}: it was not scored on the images that the other runs were scored on.")
    cells = _moderated(cells)
    return Results(study, cells, _pairs(cells), missing)


def _untested(over: OverSeeds) -> OverSeeds:
    """Masks of too few images: the mean alone."""
    return dataclasses.replace(over, interval=None, p_value=None)


def _within(over: OverSeeds) -> OverSeeds:
    """No difference of two shares is beyond -1 and 1."""
    if over.interval is None:
        return over
    interval = Interval(max(-1.0, over.interval.low), min(1.0, over.interval.high))
    return dataclasses.replace(over, interval=interval)


def _scored_paths(cell: Cell) -> list[str]:
    paths: list[str] = scored_samples(cell.first)["path"].tolist()
    return paths


def _cell(setting: str, fraction: float, runs: dict[int, Run]) -> Cell:
    first = next(iter(runs.values()))
    groups = groups_of(first)
    if first.recipe.task == "segmentation":
        return _of_masks(setting, fraction, runs, groups)
    classes = [class_values(run) for run in runs.values()]
    scored = [class_predictions(run) for run in runs.values()]
    reasons = _said(
        _why_not_learnt(judged, each, groups, first.classes) for judged, each in zip(classes, scored, strict=True)
    )
    own = [float((each.probabilities.argmax(1) == each.target).mean()) for each in scored]
    kept = float(np.mean(own)) if any(each.choice.by_score for each in classes) else None
    correct = np.stack([each.correct for each in classes])
    values = by_unit(correct.astype(np.float64), groups)
    return Cell(setting, fraction, runs, values, correct, correct.shape[1], groups, not_learnt=reasons, kept=kept)


def _of_masks(setting: str, fraction: float, runs: dict[int, Run], groups: NDArray[np.int64] | None) -> Cell:
    """By the mIoU over the classes in enough images, which are the same for all settings: the truth is one."""
    masks = [mask_values(run) for run in runs.values()]
    scored = [mask_predictions(run).confusion for run in runs.values()]
    names = next(iter(runs.values())).classes
    judged = [mask_figures(each.counts, None, groups).compared for each in masks]
    counts = masks[0].counts
    known = support(counts, groups)
    enough = np.flatnonzero(known.enough).tolist()
    return Cell(
        setting,
        fraction,
        runs,
        np.stack([miou_by_unit(each.counts, groups, enough or None) for each in masks]),
        None,
        len(counts),
        groups,
        not_learnt=_said(
            why_masks_not_learnt(confusion, interval, names, over)
            for confusion, (interval, over) in zip(scored, judged, strict=True)
        ),
        kept=float(np.mean([miou(each) for each in scored])) if any(each.choice.by_score for each in masks) else None,
        over_classes=over_classes(enough, names) if 0 < len(enough) < known.present else None,
        too_few=known.why_none,
        of_one=judged[0][0] if len(runs) == 1 else None,
        degrees=miou_degrees(counts, groups, enough) if known.why_none is None else None,
    )


def _said(reasons: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(reason for reason in reasons if reason is not None)


def _why_not_learnt(
    judged: ClassValues, scored: ImagePredictions, groups: NDArray[np.int64] | None, names: Sequence[str]
) -> str | None:
    """Of one run, by the interval that its own page shows. scored: of its kept weights."""
    found = figures(scored.probabilities, scored.target, groups, judged.predicted, judged.correct)
    predicted = scored.probabilities.argmax(1) if judged.predicted is None else judged.predicted
    return why_not_learnt(predicted, scored.target, found.top1_interval, names)


def _moderated(cells: list[Cell]) -> list[Cell]:
    expected = expected_by_setting([cell.scores for cell in cells])
    return [dataclasses.replace(cell, expected=known) for cell, known in zip(cells, expected, strict=True)]


def _pairs(cells: Sequence[Cell]) -> list[Pair]:
    compared = compare([cell.scores for cell in cells], [cell.expected for cell in cells])
    if any(cell.too_few for cell in cells):
        compared = [dataclasses.replace(each, over=_untested(each.over), p_holm=None) for each in compared]
    tests = sum(each.p_holm is not None for each in compared)
    return [
        Pair(cells[each.a], cells[each.b], _within(each.over), each.p_holm, needed(each.doubt, tests), each.is_paired)
        for each in compared
    ]
