"""The page of a pretraining run, or of several: that of a classifier, with figures of nearest neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import pandas as pd

from snellen.insight.calibration import Calibration
from snellen.insight.learning import why_features_not_learnt
from snellen.insight.proportions import percents, wilson
from snellen.reporting.collected import Collected
from snellen.reporting.pictures import thumbnails
from snellen.reporting.shared import Curve, CurveSpec
from snellen.reporting.template import Page
from snellen.run.directory import RunDirectory
from snellen.tasks.classification.report import page_of
from snellen.tasks.classification.report.collect import EXAMPLES, RunFigures, collect, interval_text
from snellen.tasks.pretraining.evaluation import COLUMNS
from snellen.tasks.pretraining.recipe import PretrainingRecipe
from snellen.tasks.pretraining.record import recipe_of
from snellen.words import counted

_MOST_EXAMPLES = 48


def view(label: str, run: RunDirectory, number: int) -> PretrainingFigures:
    """A run's figures. number: of the runs on the page, from 0."""
    return PretrainingFigures(label, run, number)


def page(runs: Sequence[RunDirectory]) -> Page:
    """The page of some runs."""
    return page_of(collect(runs, PretrainingFigures, CollectedPretraining), "pretraining.html.j2")


@dataclass(frozen=True)
class PretrainingFigures(RunFigures):
    """All figures of one run, by the votes of nearest neighbours."""

    measure: ClassVar[str] = "k-NN top-1"
    seen_before: ClassVar[str] = "images it was trained on or knows with their labels"
    is_classifier: ClassVar[bool] = False
    curves: ClassVar[Sequence[CurveSpec]] = (
        ("k-NN top-1", True, [Curve("knn_top1", ""), Curve("probe_top1", ", linear probe", dashed=True)]),
        ("loss", False, [Curve("train_loss", "")]),
        ("effective rank", False, [Curve("effective_rank", "")]),
        (
            "deviation",
            False,
            [Curve("train_projection_deviation", ", projections", dashed=True), Curve("feature_deviation", "")],
        ),
    )

    @cached_property
    def recipe(self) -> PretrainingRecipe:
        """The resolved recipe."""
        return recipe_of(self.run)

    @property
    def classes_in_loss(self) -> int | None:
        """None: losses over views have no classes."""
        return None

    def bits(self, part: str = "validation") -> int | None:
        """The bit depth by which its 16-bit images were read."""
        return (self.recipe.data if part == "train" else self.recipe.labelled).bits

    @property
    def at_start(self) -> float | None:
        """k-NN top-1 before the first step."""
        top1: float | None = self.run.data.get("at_start", {}).get("knn_top1")
        return top1

    @cached_property
    def why_not_learnt(self) -> str | None:
        """See insight.learning."""
        if self.figures is None:
            return None
        return why_features_not_learnt(self.figures.top1, self.at_start)

    @cached_property
    def calibration(self) -> Calibration | None:
        """None: votes of neighbours are not probabilities that could be calibrated."""
        return None

    @property
    def more_numbers(self) -> dict[str, Any]:
        """The last value of each figure of the features."""
        names = (*COLUMNS, "train_loss", "train_projection_deviation")
        return {"pretraining": {name: _last(self.metrics, name) for name in names}}

    def examples(self) -> list[tuple[str, list[str]]]:
        """Pictures of some training images, in rows."""
        paths = self.run.part("train")["path"]
        paths = paths.sample(min(len(paths), _MOST_EXAMPLES), random_state=0)
        pictures = thumbnails([self.run.image(path) for path in paths], self.bits("train"))
        return [("", pictures[start : start + EXAMPLES]) for start in range(0, len(pictures), EXAMPLES)]

    @property
    def sentence(self) -> str:
        """The result in a sentence, for a page of this run alone."""
        counts, figures = self.run.data["counts"], self.figures
        start = f"{self.label} learnt from {counted(counts['train'], 'image')} without labels."
        if figures is None:
            return f"{start} No labelled set was given, so its features were not scored."
        before = "" if self.at_start is None else f"; {self.at_start:.1%} before the first step"
        return (
            f"{start} By their nearest neighbours among {counted(counts['known'], 'labelled image')}, "
            f"{figures.correct:,} of {counted(figures.images, 'validation image')} are right: k-NN top-1 "
            f"{figures.top1:.1%}, {interval_text(figures)}{before}.{_probe(self)}"
        )

    @property
    def progress(self) -> str:
        """How k-NN top-1 changed from before the first step to the end, in words."""
        last, start = _last(self.metrics, "knn_top1"), self.at_start
        return "" if last is None or start is None else f"{start:.1%} before its first step, {last:.1%} at the end"

    @property
    def next_commands(self) -> list[str]:
        """Commands to use next, once it has finished."""
        backbone = self.recipe.model.backbone
        return [f"to train on it: snellen train RECIPE DATA model.weights={self.run.path} model.backbone={backbone}"]


class CollectedPretraining(Collected[RunFigures]):
    """Everything that a report shows."""

    @property
    def headline(self) -> list[str]:
        """As for classifiers; for a single run also what it learnt from, with labels or without."""
        if self.comparisons:
            return super().headline
        return [*(run.sentence for run in self.runs), *(sentence for run in self.runs for sentence in run.leaks)]


def _probe(run: PretrainingFigures) -> str:
    probed = pd.to_numeric(run.metrics["probe_top1"]).dropna()
    if probed.empty or run.figures is None:
        return ""
    sentence = f" A linear classifier on the same features reaches {probed.iloc[-1]:.1%}"
    if run.groups is not None:  # which images it has right is not kept
        return f"{sentence}."
    interval = wilson(round(float(probed.iloc[-1]) * run.figures.images), run.figures.images)
    return f"{sentence} ({percents(interval)})."


def _last(metrics: pd.DataFrame, name: str) -> float | None:
    """The last value of a column, None if there is none: not every evaluation has every figure."""
    if name not in metrics:
        return None
    values = pd.to_numeric(metrics[name]).dropna().tolist()
    return float(values[-1]) if values else None
