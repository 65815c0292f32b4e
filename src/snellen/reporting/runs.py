"""What all reports have in common: the view of a run, labels, what differs, rows of tables."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from snellen.engine.few_steps import few_steps_note
from snellen.engine.mode import Mode
from snellen.engine.recipe import CommonRecipe
from snellen.engine.relevance import is_listed
from snellen.insight.differences import Difference, differences
from snellen.insight.learning import why_diverged
from snellen.insight.proportions import Interval
from snellen.insight.sentence import listed
from snellen.insight.without_leaked import WithoutLeaked
from snellen.reporting.headline import EpochChoice, groups_of, leaked_of, scored_part, scored_samples
from snellen.run.directory import RunDirectory
from snellen.run.status import Status
from snellen.words import counted

_COLOURS = 8  # of runs, in report.css
WHAT_TO_TRY = "Try more epochs, a lower or a higher optimizer.lr, or another recipe."


AnyView = TypeVar("AnyView", bound="RunView")


@dataclass(frozen=True)
class RunView(ABC):
    """A run in a report. number: of the runs, from 0. measure: what runs of its task are judged by.

    seen_before: the images whose copies are leaked, in words.
    """

    measure: ClassVar[str]
    seen_before: ClassVar[str] = "images it was trained on"
    label: str
    run: RunDirectory
    number: int

    @property
    def colour(self) -> str:
        """The style sheet's name for the run's colour."""
        return f"run{self.number % _COLOURS}"

    @property
    @abstractmethod
    def recipe(self) -> CommonRecipe:
        """The resolved recipe."""

    @cached_property
    def fields(self) -> dict[str, Any]:
        """The recipe as nested dictionaries."""
        return self.recipe.model_dump(mode="json")

    @property
    def classes_in_loss(self) -> int | None:
        """The number of classes if the loss is a cross-entropy; None for any other loss."""
        return len(self.run.classes)

    def bits(self, part: str = "validation") -> int | None:
        """The bit depth by which 16-bit images of a part were read, as in `decode`."""
        return self.recipe.data.bits

    @property
    def progress(self) -> str:
        """How its score changed from before the first step to the end, in words; empty if unknown."""
        return ""

    @property
    def next_commands(self) -> list[str]:
        """Commands to use next, once it has finished."""
        return [
            f"to predict: snellen predict {self.run.path} IMAGES",
            f"to score other labelled images: snellen evaluate {self.run.path} DATA",
        ]

    @cached_property
    def status(self) -> Status:
        """status.json."""
        return self.run.status

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """epochs.csv; empty before the first epoch."""
        return self.run.metrics() if (self.run.path / "epochs.csv").is_file() else pd.DataFrame()

    @cached_property
    def samples(self) -> pd.DataFrame:
        """The rows of samples.csv that the figures are about, numbered from 0."""
        return scored_samples(self.run)

    @cached_property
    def validation_samples(self) -> pd.DataFrame:
        """The validation rows of samples.csv, which snapshots are about, numbered from 0."""
        return self.run.part("validation")

    @property
    def part(self) -> str:
        """The part of the data that the figures are about: validation or test."""
        return scored_part(self.run)

    @cached_property
    def groups(self) -> NDArray[np.int64] | None:
        """(N,) group of each of `samples`, None if the data have none."""
        return groups_of(self.run)

    @property
    def scored(self) -> bool:
        """Whether there are predictions."""
        return (self.run.path / "predictions" / f"{self.part}.npz").is_file()

    @property
    @abstractmethod
    def why_not_learnt(self) -> str | None:
        """Why it counts as not having learnt, in words; None if it has learnt, or was not scored."""

    @property
    def not_learnt(self) -> str | None:
        """A warning if the run is no better than a constant answer."""
        if self.why_not_learnt is None:
            return None
        return f"{self.label} has not learnt: {self.why_not_learnt}. {WHAT_TO_TRY}"

    @property
    @abstractmethod
    def headline_figure(self) -> tuple[str, float, Interval | None] | None:
        """The headline of the page: the measure's name, its value and its 95% interval; None before any score."""

    @property
    @abstractmethod
    def sentence(self) -> str:
        """The headline figure in a sentence, for a page of this run alone."""

    @cached_property
    def leaked(self) -> NDArray[np.bool_]:
        """(N,) which of `samples` are copies of images that trained the run, or chose its epoch."""
        return leaked_of(self.run)

    @property
    def without_leaked(self) -> WithoutLeaked | None:
        """The headline figure without these images; None if there are none, if all are, or before any score."""
        return None

    @property
    def leaks(self) -> list[str]:
        """A sentence on that; empty if no image is known to be leaked."""
        if not self.scored or not self.leaked.any():
            return []
        if self.without_leaked is None:
            return [f"All scored images of {self.label} are copies of {self.seen_before}."]
        return [typeset(self.without_leaked.of_run(self.label, self.measure, self.seen_before))]

    @property
    def compared(self) -> tuple[float, Interval | None]:
        """The value that runs on the same images are compared by, and its interval."""
        assert self.headline_figure is not None
        return self.headline_figure[1:]

    @property
    def why_no_interval(self) -> str | None:
        """Why the headline figure has no interval, in words; None if it has one."""
        return None

    @property
    def over_the_others(self) -> str | None:
        """The headline figure over the classes that have an interval, in words; None if all have one."""
        return None

    @property
    @abstractmethod
    def epoch_choice(self) -> EpochChoice | None:
        """How the kept epoch was chosen; None before any score."""

    @property
    @abstractmethod
    def kept_score(self) -> float | None:
        """The kept weights' own value of the headline figure; None before any score."""

    @property
    def of_kept(self) -> bool:
        """Whether figures of the kept weights must be labelled, since the weights were chosen on the same images."""
        return self.epoch_choice is not None and self.epoch_choice.by_score

    @property
    def stopped_early(self) -> str | None:
        """A warning if the run did not reach its last epoch."""
        if self.status.finished:
            return None
        text = (
            f"{self.label} is {self.status.state}: {self.status.epochs_done} of "
            f"{counted(self.status.epochs, 'epoch')} done. The learning rate schedule was planned for all "
            f"of them and has not reached its end."
        )
        return f"{text} What stopped it: {self.status.error}" if self.status.error else text

    @property
    def diverged(self) -> str | None:
        """A warning if the losses are finite but training diverged."""
        if self.classes_in_loss is None or self.metrics.empty:
            return None
        for column in ("validation_loss", "train_loss"):
            why = why_diverged(self.metrics[column].tolist(), self.classes_in_loss)
            if why is not None:
                rate = self.recipe.optimizer.lr / 10
                return (
                    f"{self.label}: training diverged: {why}. Lower optimizer.lr, for example optimizer.lr={rate:.2g}"
                )
        return None

    @property
    def warnings(self) -> list[str]:
        """What went wrong during training: too few steps to learn much, divergence, changes of precision."""
        few = few_steps_note(self.recipe, int(self.run.data["counts"]["train"]))
        sentences = [f"{self.label}: {sentence}." for sentence in self.run.switches]
        notes = [] if self.diverged is None else [self.diverged]
        if "test" in self.run.data["counts"] and self.part != "test" and self.status.finished:
            notes.append(f"{self.label}: its test part was not scored; its figures are for the validation images.")
        return [*([] if few is None else [f"{self.label}: {few}"]), *notes, *sentences]

    @property
    def lost_files(self) -> str | None:
        """A warning if files of the run are missing, so that their figures are not on the page."""
        names = ["epochs.csv"] if self.status.epochs_done else []
        if self.status.chosen_epoch:
            names += ["predictions/validation.npz"]
        if self.status.chosen_epoch and self.status.finished:
            names += ["predictions/validation.csv"]
        recipe = self.recipe
        kept = recipe.snapshots.images and self.scored
        if kept and any(epoch <= self.status.epochs_done for epoch in recipe.snapshots.due(recipe.epochs)):
            names += ["snapshots"]
        missing = [name for name in names if not (self.run.path / name).exists()]
        if not missing:
            return None
        absent = "The figures that need them are not on this page."
        return f"{self.label}: missing from the run's folder: {listed(missing)}. {absent}"

    @property
    def choice(self) -> str:
        """How the epoch was chosen, in words."""
        if not self.status.chosen_epoch:
            return f"{self.label}: no epoch was scored yet."
        epoch = f"{self.label}: epoch {self.status.chosen_epoch}"
        if self.part == "test":
            best = self.recipe.evaluation.choose == "best"
            return (
                f"{epoch}, {'which scored best on the validation images' if best else 'the last'}. Its figures are "
                f"from {counted(len(self.samples), 'test image')}, scored once, which neither trained the network nor "
                "chose the epoch."
            )
        if self.status.epochs_done == 1:
            return f"{epoch}, the only one, so no epoch was chosen by its score."
        if self.recipe.evaluation.choose == "last":
            return f"{epoch}, the last; it was not chosen by its score."
        if self.scored and not self.of_kept:
            return f"{epoch}, the only one that was scored, so no epoch was chosen by its score."
        text = (
            f"{epoch} of {self.status.epochs_done} is kept, because it scored best on the validation images, which "
            "are also the images reported here."
        )
        headline, kept = self.headline_figure, self.kept_score
        if headline is None or kept is None or not self.of_kept:
            return text
        assert self.epoch_choice is not None
        if not self.epoch_choice.is_crossfitted:
            unit = "group of images is" if self.groups is not None else "image is"
            return f"{text} A single {unit} scored, so every figure here is affected by that choice."
        gap = 100 * (kept - headline[1])
        compared = f"{abs(gap):.1f} points {'higher, since it was chosen there' if gap > 0 else 'lower'}"
        return (
            f"{text} The headline is cross-fitted: {headline[0]} {headline[1]:.1%}, where each image counts at the "
            f"epoch that scored best on other images, nearly half of them. The kept weights' score on the images "
            f"used to choose them is {kept:.1%}{f', {compared}' if round(abs(gap), 1) else ''}."
        )


def labels_of(names: Sequence[str], runs: Sequence[RunDirectory]) -> list[str]:
    """Labels of runs: the names of their recipes, or of their folders if those are not unique.

    If the folders' names are not unique either, with numbers.
    """
    if len(set(names)) == len(names):
        return list(names)
    folders = [run.name for run in runs]
    return [name if folders.count(name) == 1 else f"{name} ({number})" for number, name in enumerate(folders, start=1)]


def left_aside(runs: Sequence[RunView]) -> list[str]:
    """A sentence for each run without a figure to compare: not scored yet, or not learnt."""
    return [f"{run.label} has not been scored yet." for run in runs if not run.scored] + [
        f"{run.label} has not learnt, so no conclusion is drawn from its figure." for run in runs if run.not_learnt
    ]


def differing(runs: Sequence[RunView]) -> list[Difference]:
    """What differs between runs, among everything that a result may depend on."""
    return [row for row in differences([_conditions(run) for run in runs]) if is_listed(row.field)]


def _conditions(run: RunView) -> dict[str, Any]:
    """Everything that a result may depend on: recipe, data, arithmetic, machine, versions."""
    environment, data = run.run.environment, run.run.data
    arithmetic = {"device": environment.device, **asdict(Mode.recorded(environment))}
    machine = {"processor": environment.gpu or environment.cpu, "snellen": environment.snellen}
    return run.fields | {
        "images": {"fingerprint": data["fingerprint"][:12], "left_out": len(data["left_out"])},
        "measured": data["normalization"] | arithmetic,
        "machine": machine | environment.packages,
    }


def typeset(sentence: str) -> str:
    """With minus signs instead of hyphens before numbers."""
    return re.sub(r"(?<= )-(?=\d)", "−", sentence)


def by_images(runs: Sequence[AnyView]) -> list[list[AnyView]]:
    """The runs in groups that were trained on the same images, in order."""
    groups: dict[str, list[AnyView]] = {}
    for run in runs:
        groups.setdefault(run.run.data["fingerprint"], []).append(run)
    return list(groups.values())


def class_names(runs: Sequence[RunView]) -> list[str]:
    """The classes of all runs without duplicates, in order of appearance."""
    return list(dict.fromkeys(name for run in runs for name in run.run.classes))


def image_path(run: RunDirectory, samples: pd.DataFrame, row: int) -> Path:
    """The file of an image. samples: rows of samples.csv. row: that of the image."""
    return run.image(str(samples["path"].iloc[row]))


def run_numbers(run: RunView) -> dict[str, Any]:
    """The part of the JSON file that every run has."""
    return {
        "label": run.label,
        "path": str(run.run.path.resolve()),
        "status": run.status.as_dict(),
        "choice": run.choice,
        "crossfitted": run.epoch_choice is not None and run.epoch_choice.is_crossfitted,
        "not_learnt": run.why_not_learnt,
        "without_leaked": None if run.without_leaked is None else asdict(run.without_leaked),
        "parameters": run.run.environment.parameters,
        "macs": run.run.environment.macs,
    }


def table_row(run: RunView, numbers: Mapping[str, Any], with_intervals: Sequence[str]) -> dict[str, Any]:
    """A run's row of the CSV file: its single numbers, the ends of intervals, its cost."""
    flat = {key: value for key, value in numbers.items() if not isinstance(value, dict | list)}
    for key in with_intervals:
        if f"{key}_interval" in numbers:
            flat[f"{key}_low"], flat[f"{key}_high"] = numbers[f"{key}_interval"] or (None, None)
    cost = ("state", "epochs_done", "seconds_training", "images_per_second")
    return flat | {key: getattr(run.status, key) for key in cost}


def ends(interval: Interval | None) -> list[float] | None:
    """An interval for JSON."""
    return None if interval is None else [interval.low, interval.high]


def finite(value: float) -> float | None:
    """A number for JSON, which has no NaN."""
    return value if math.isfinite(value) else None
