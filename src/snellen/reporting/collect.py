"""The numbers of a report: from run directories, through the insight functions, to plain dataclasses."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from snellen.engine.run_directory import Run, Snapshot
from snellen.errors import UserError
from snellen.insight.calibration import Calibration, calibration
from snellen.insight.classification import Figures, figures
from snellen.insight.confusion import Confusion, confusion
from snellen.insight.differences import Difference, differences
from snellen.insight.holm import holm
from snellen.insight.mistakes import Mistake, confident_mistakes
from snellen.insight.optimism import Optimism, optimism
from snellen.insight.paired import PairedTest, mcnemar, paired_by_group
from snellen.insight.projection import pca_by_epoch, tsne_by_epoch
from snellen.insight.proportions import wilson
from snellen.insight.sentence import listed, verdict
from snellen.insight.separability import Separability, separability

_FEWEST_FOR_TSNE = 10
_MOST_EPOCHS_SHOWN = 6
_COLOURS = 8  # of runs, in report.css
_LEVEL = 0.05
# What two runs may differ in without anybody being told: it changes no result.
IRRELEVANT = ("name", "hardware.threads", "data.cache_mib", "budget")


@dataclass(frozen=True)
class Evolution:
    """Features of the same images at several epochs. pca, tsne: (n, 2) for each epoch; tsne is empty for few images."""

    epochs: list[int]
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    correct: NDArray[np.bool_]
    pca: list[NDArray[np.float64]]
    tsne: list[NDArray[np.float64]]
    separability: list[Separability]


@dataclass(frozen=True)
class RunFigures:
    """All figures of one run. What a run that stopped early does not have is None. number: of the runs, from 0."""

    label: str
    run: Run
    number: int

    @property
    def colour(self) -> str:
        """The style sheet's name for the run's colour."""
        return f"run{self.number % _COLOURS}"

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """The resolved recipe as nested dictionaries."""
        return self.run.recipe.model_dump(mode="json")

    @property
    def pretraining(self) -> bool:
        """Whether it learnt without labels."""
        return self.run.recipe.task == "pretraining"

    @cached_property
    def status(self) -> dict[str, Any]:
        """status.json."""
        return self.run.status

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """epochs.csv; empty before the first epoch."""
        return self.run.metrics() if (self.run.path / "epochs.csv").is_file() else pd.DataFrame()

    @cached_property
    def samples(self) -> pd.DataFrame:
        """The validation rows of samples.csv, numbered from 0."""
        samples = self.run.samples()
        return samples[samples["split"] == "validation"].reset_index(drop=True)

    @cached_property
    def groups(self) -> NDArray[np.int64] | None:
        """(N,) group of each validation image, None where the data have none."""
        if not self.run.data["group"]:
            return None
        return np.asarray(pd.factorize(self.samples["group"])[0], dtype=np.int64)

    @property
    def scored(self) -> bool:
        """Whether there are predictions."""
        return (self.run.path / "predictions" / "validation.npz").is_file()

    @cached_property
    def correct(self) -> NDArray[np.bool_]:
        """(N,) which validation images are right at the chosen epoch."""
        scored = self.run.validation()
        return np.asarray(scored.probabilities.argmax(1) == scored.target)

    @cached_property
    def figures(self) -> Figures | None:
        """Top-1 and its like."""
        if not self.scored:
            return None
        scored = self.run.validation()
        return figures(scored.probabilities, scored.target, self.groups)

    @cached_property
    def confusion(self) -> Confusion | None:
        """Which classes are taken for which."""
        if not self.scored:
            return None
        scored = self.run.validation()
        return confusion(scored.probabilities.argmax(1), scored.target, len(self.run.classes))

    @cached_property
    def calibration(self) -> Calibration | None:
        """Reliability; votes of neighbours are no probabilities to be calibrated."""
        if not self.scored or self.pretraining:
            return None
        scored = self.run.validation()
        return calibration(scored.probabilities, scored.target)

    @cached_property
    def mistakes(self) -> list[Mistake]:
        """The surest mistakes."""
        if not self.scored:
            return []
        scored = self.run.validation()
        return confident_mistakes(scored.probabilities, scored.target)

    @cached_property
    def optimism(self) -> Optimism | None:
        """What choosing the epoch on the scored images added; None where it was not chosen so."""
        if not self.scored or self.run.recipe.evaluation.choose != "best":
            return None
        by_epoch = self.run.correct_by_epoch()
        return optimism(by_epoch) if len(by_epoch) > 1 else None

    @cached_property
    def evolution(self) -> Evolution | None:
        """Projections of the features."""
        snapshots = _spread(self.run.snapshots())
        if not snapshots:
            return None
        rows = snapshots[-1].rows
        labels = self.samples["target"].to_numpy(dtype=np.int64)[rows]
        features = [snapshot.features for snapshot in snapshots]
        return Evolution(
            epochs=[snapshot.epoch for snapshot in snapshots],
            rows=rows,
            labels=labels,
            correct=snapshots[-1].probabilities.argmax(1) == labels,
            pca=pca_by_epoch(features),
            tsne=tsne_by_epoch(features) if len(rows) >= _FEWEST_FOR_TSNE else [],
            separability=[separability(each, labels) for each in features],
        )

    @property
    def stopped_early(self) -> str | None:
        """A warning, where the run did not reach its last epoch."""
        if self.status["state"] == "finished":
            return None
        text = (
            f"{self.label} is {self.status['state']}: {self.status['epochs_done']} of {self.status['epochs']} epochs "
            "are done. The learning rate's schedule was laid out for all of them and has not reached its end."
        )
        return f"{text} What stopped it: {self.status['error']}" if self.status.get("error") else text

    @property
    def choice(self) -> str:
        """How the epoch was chosen, in words."""
        if not self.status["chosen_epoch"]:
            return f"{self.label}: no epoch was scored yet."
        if self.run.recipe.evaluation.choose == "last":
            return f"{self.label}: epoch {self.status['chosen_epoch']}, the last; it was not chosen by its score."
        text = (
            f"{self.label}: epoch {self.status['chosen_epoch']} of {self.status['epochs_done']}, chosen because it "
            "scored best on the validation images, which are also the images reported here."
        )
        if self.optimism is None:
            return text
        return (
            f"{text} Choosing among {self.optimism.epochs} epochs flatters the figure by about "
            f"{100 * self.optimism.value:.1f} points (the epoch chosen on one half of the images, scored on the other)."
        )


@dataclass(frozen=True)
class Comparison:
    """Two runs on the same images. p_holm: corrected for the number of comparisons in the report."""

    a: str
    b: str
    test: PairedTest
    p_holm: float
    sentence: str

    @property
    def better(self) -> str | None:
        """The label of the better run; None where they cannot be told apart. The rule is that of the sentence."""
        if self.p_holm >= _LEVEL or self.test.interval.low <= 0 <= self.test.interval.high:
            return None
        return self.a if self.test.difference > 0 else self.b


@dataclass(frozen=True)
class Collected:
    """Everything that a report shows."""

    runs: list[RunFigures]
    comparisons: list[Comparison]
    differing: list[Difference]
    same_images: bool

    @property
    def pretraining(self) -> bool:
        """Whether these are pretraining runs, whose figures are their neighbours' votes."""
        return self.runs[0].pretraining

    @property
    def measure(self) -> str:
        """What the share of right images is called."""
        return "k-NN top-1" if self.pretraining else "top-1"

    @property
    def scored(self) -> list[RunFigures]:
        """The runs that have figures."""
        return [run for run in self.runs if run.figures is not None]

    @property
    def headline(self) -> list[str]:
        """The answer, in one sentence or a few."""
        unscored = [f"{run.label} has not been scored yet." for run in self.runs if run.figures is None]
        if len(self.comparisons) > 1:
            return _summary(self.scored, self.comparisons) + unscored
        if self.comparisons:
            return [self.comparisons[0].sentence, *unscored]
        if self.pretraining:
            return [_pretraining_sentence(run) for run in self.runs]
        return [_sentence(run.label, run.figures) for run in self.runs if run.figures is not None] + unscored


def _pretraining_sentence(run: RunFigures) -> str:
    counts = run.run.data["counts"]
    start = f"{run.label} learnt from {counts['train']:,} images without labels."
    figures = run.figures
    if figures is None:
        return f"{start} No labelled set was given, so what its features are worth was not scored."
    low, high = figures.top1_interval.low, figures.top1_interval.high
    return (
        f"{start} By their nearest neighbours among {counts['known']:,} labelled images, {figures.correct:,} of "
        f"{figures.images:,} validation images are right: k-NN top-1 {figures.top1:.1%}, 95% interval "
        f"{100 * low:.1f} to {100 * high:.1f}.{_probe(run)}"
    )


def _probe(run: RunFigures) -> str:
    probed = pd.to_numeric(run.metrics["probe_top1"]).dropna()
    if probed.empty or run.figures is None:
        return ""
    right = round(float(probed.iloc[-1]) * run.figures.images)
    interval = wilson(right, run.figures.images)
    return (
        f" A linear classifier on the same features reaches {probed.iloc[-1]:.1%} "
        f"({100 * interval.low:.1f} to {100 * interval.high:.1f})."
    )


def _sentence(label: str, figures: Figures) -> str:
    low, high = figures.top1_interval.low, figures.top1_interval.high
    return (
        f"{label} is right on {figures.correct:,} of {figures.images:,} validation images: "
        f"top-1 {figures.top1:.1%}, 95% interval {100 * low:.1f} to {100 * high:.1f}."
    )


def _summary(runs: list[RunFigures], comparisons: list[Comparison]) -> list[str]:
    """Which run is at the top, and which others these images tell from it."""
    top1 = {run.label: run.figures.top1 for run in runs if run.figures is not None}
    best = max(top1, key=lambda label: top1[label])
    own = [c for c in comparisons if best in (c.a, c.b)]
    beaten = [c.b if c.a == best else c.a for c in own if c.better == best]
    level = [c.b if c.a == best else c.a for c in own if c.better is None]
    images = comparisons[0].test.total
    if not level:
        sentences = [f"{best} beats all the others: top-1 {top1[best]:.1%} on {images:,} images."]
    else:
        sentences = [
            f"{best} has the highest top-1, {top1[best]:.1%}, but these {images:,} images cannot tell it apart from "
            f"{listed(level)}." + (f" It beats {listed(beaten)}." if beaten else "")
        ]
    open_pairs = sum(c.better is None for c in comparisons)
    told = len(comparisons) - open_pairs
    sentences.append(
        f"Of {len(comparisons)} pairs, {told} can be told apart and {open_pairs} cannot (paired tests, corrected by "
        "Holm for their number)."
    )
    return sentences


def collect(runs: Sequence[Run]) -> Collected:
    """Figures of runs, and their comparisons where they were scored on the same images."""
    kinds = {run.recipe.task for run in runs}
    if len(kinds) > 1:
        raise UserError(f"runs of different kinds ({', '.join(sorted(kinds))}) do not fit into one report.")
    names = [run.recipe.name for run in runs]
    labels = names if len(set(names)) == len(names) else _unique([run.name for run in runs])
    figures = [RunFigures(label, run, number) for number, (label, run) in enumerate(zip(labels, runs, strict=True))]
    first = figures[0].samples[["path", "class"]]
    same = all(first.equals(other.samples[["path", "class"]]) for other in figures[1:])
    found = [row for row in differences([conditions(each) for each in figures]) if row.key not in IRRELEVANT]
    return Collected(figures, _compare(figures) if same else [], found, same)


def conditions(run: RunFigures) -> dict[str, Any]:
    """All that a result may depend on: the recipe, the data as they were, the arithmetic, the machine, the versions."""
    environment, data = run.run.environment, run.run.data
    arithmetic = {key: environment[key] for key in ("device", "precision", "channels_last", "compiled", "unfolded")}
    machine = {"processor": environment["gpu"] or environment["cpu"], "snellen": environment["snellen"]}
    return run.recipe | {
        "images": {"fingerprint": data["fingerprint"][:12], "left_out": len(data["left_out"])},
        "measured": data["normalization"] | arithmetic,
        "machine": machine | environment["packages"],
    }


def _compare(runs: list[RunFigures]) -> list[Comparison]:
    pairs = list(itertools.combinations([run for run in runs if run.scored], 2))
    tests = []
    for a, b in pairs:
        tests.append(
            mcnemar(a.correct, b.correct) if a.groups is None else paired_by_group(a.correct, b.correct, a.groups)
        )
    corrected = holm([test.p_value for test in tests])
    return [
        Comparison(a.label, b.label, test, p, _typeset(verdict(a.label, b.label, test, p)))
        for (a, b), test, p in zip(pairs, tests, corrected, strict=True)
    ]


def _typeset(sentence: str) -> str:
    """With minus signs in place of hyphens before numbers."""
    return re.sub(r"(?<= )-(?=\d)", "−", sentence)


def _unique(names: list[str]) -> list[str]:
    return [name if names.count(name) == 1 else f"{name} ({number})" for number, name in enumerate(names, start=1)]


def _spread(snapshots: list[Snapshot]) -> list[Snapshot]:
    """At most six, the first and the last among them."""
    if len(snapshots) <= _MOST_EPOCHS_SHOWN:
        return snapshots
    chosen = np.linspace(0, len(snapshots) - 1, _MOST_EPOCHS_SHOWN).round().astype(int)
    return [snapshots[index] for index in chosen]


def class_names(runs: Sequence[RunFigures]) -> list[str]:
    """The classes of all runs, each once, in the order in which they come."""
    return list(dict.fromkeys(name for run in runs for name in run.run.classes))


def image_path(run: Run, samples: pd.DataFrame, row: int) -> Path:
    """The file of a validation image."""
    return run.image(str(samples["path"].iloc[row]))
