"""The numbers of a report: from run directories, through the insight functions, to plain dataclasses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from snellen.engine.recipe import CommonRecipe
from snellen.insight.calibration import Calibration, calibration
from snellen.insight.classification import ClassFigures, Figures, figures
from snellen.insight.confusion import Confusion, confusion
from snellen.insight.crossfit import best_by_share, crossfitted
from snellen.insight.groups import share, why_no_interval
from snellen.insight.learning import why_not_learnt
from snellen.insight.paired import PairedTest, paired
from snellen.insight.projection import pca_by_epoch, tsne_by_epoch
from snellen.insight.proportions import Interval, percents
from snellen.insight.separability import Separability, separability
from snellen.insight.without_leaked import WithoutLeaked, share_of, without_leaked
from snellen.reporting.collected import Collected, views
from snellen.reporting.headline import EpochChoice, choice_among, folds_of, scored_part
from snellen.reporting.pictures import thumbnails
from snellen.reporting.runs import RunView
from snellen.reporting.shared import CurveSpec, in_both_parts
from snellen.run.directory import RunDirectory
from snellen.tasks.classification import record
from snellen.words import counted

_FEWEST_FOR_TSNE = 10
_MOST_EPOCHS_SHOWN = 6
_EXAMPLE_CLASSES = 12
EXAMPLES = 4  # pictures in a row


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
class RunFigures(RunView):
    """All figures of one run; None for what a run that stopped early does not have. curves: over the epochs."""

    measure: ClassVar[str] = "top-1"
    is_classifier: ClassVar[bool] = True  # its network, not an evaluation of its features, gave the predictions
    curves: ClassVar[Sequence[CurveSpec]] = (
        in_both_parts("top-1", "top1", percent=True),
        in_both_parts("loss", "loss"),
    )

    @cached_property
    def recipe(self) -> CommonRecipe:
        """The resolved recipe."""
        return record.recipe_of(self.run)

    @property
    def more_numbers(self) -> dict[str, Any]:
        """Further entries of the JSON file."""
        return {}

    def examples(self) -> list[tuple[str, list[str]]]:
        """(class, pictures of its first training images), evenly chosen among many classes."""
        samples, names, bits = self.run.part("train"), self.run.classes, self.bits("train")
        chosen = sorted({int(i) for i in np.linspace(0, len(names) - 1, min(len(names), _EXAMPLE_CLASSES)).round()})
        rows = []
        for index in chosen:
            paths = samples.loc[samples["target"] == index, "path"].head(EXAMPLES)
            if pictures := thumbnails([self.run.image(path) for path in paths], bits):
                rows.append((names[index], pictures))
        return rows

    @property
    def sentence(self) -> str:
        """The result in a sentence, for a page of this run alone."""
        figures = self.figures
        assert figures is not None
        return (
            f"{self.label} is right on {figures.correct:,} of {counted(figures.images, f'{self.part} image')}: "
            f"top-1 {figures.top1:.1%}, {interval_text(figures)}."
        )

    @cached_property
    def values(self) -> ClassValues:
        """The values it is judged by, image by image."""
        return class_values(self.run, self.recipe.evaluation.choose)

    @cached_property
    def predictions(self) -> record.ImagePredictions:
        """The predictions of the kept weights."""
        return class_predictions(self.run)

    @cached_property
    def kept_correct(self) -> NDArray[np.bool_]:
        """(N,) which images the kept weights get right."""
        scored = self.predictions
        return np.asarray(scored.probabilities.argmax(1) == scored.target)

    @property
    def epoch_choice(self) -> EpochChoice | None:
        """How the kept epoch was chosen; None before any score."""
        return self.values.choice if self.scored else None

    @property
    def kept_score(self) -> float | None:
        """Top-1 of the kept weights."""
        return float(self.kept_correct.mean()) if self.scored else None

    @cached_property
    def figures(self) -> Figures | None:
        """Top-1 and the other figures."""
        if not self.scored:
            return None
        scored = self.predictions
        return figures(scored.probabilities, scored.target, self.groups, self.values.predicted, self.values.correct)

    @cached_property
    def by_class(self) -> dict[str, ClassFigures]:
        """The figures of each class, by its name; empty before any score."""
        return {} if self.figures is None else dict(zip(self.run.classes, self.figures.classes, strict=True))

    @cached_property
    def why_not_learnt(self) -> str | None:
        """See insight.learning."""
        if self.figures is None:
            return None
        scored = self.predictions
        predicted = scored.probabilities.argmax(1) if self.values.predicted is None else self.values.predicted
        return why_not_learnt(predicted, scored.target, self.figures.top1_interval, self.run.classes)

    @property
    def headline_figure(self) -> tuple[str, float, Interval | None] | None:
        """Top-1."""
        if self.figures is None:
            return None
        return self.measure, self.figures.top1, self.figures.top1_interval

    @property
    def why_no_interval(self) -> str | None:
        """Too few groups of images; None if there are enough."""
        return why_no_interval(self.groups)

    @cached_property
    def without_leaked(self) -> WithoutLeaked | None:
        """Top-1 without leaked images."""
        if not self.scored or not self.leaked.any() or self.leaked.all():
            return None
        clean, correct = ~self.leaked, self.values.correct
        interval = share(correct[clean], None if self.groups is None else self.groups[clean])
        counts = np.column_stack([correct, np.ones(len(correct))])
        return without_leaked(counts, self.leaked, share_of, interval, self.groups)

    @cached_property
    def confusion(self) -> Confusion | None:
        """Which classes are predicted as which."""
        if not self.scored:
            return None
        scored = self.predictions
        return confusion(scored.probabilities.argmax(1), scored.target, len(self.run.classes))

    @cached_property
    def calibration(self) -> Calibration | None:
        """Reliability."""
        if not self.scored:
            return None
        scored = self.predictions
        return calibration(scored.probabilities, scored.target, self.groups)

    @property
    def warnings(self) -> list[str]:
        """The warnings of every run, and one on features that cannot be drawn."""
        broken = [s.epoch for s in record.read_snapshots(self.run) if not np.isfinite(s.features).all()]
        epochs = f"epoch{'s' if len(broken) > 1 else ''} {', '.join(map(str, broken))}"
        return super().warnings + ([f"{self.label}: its features are not finite after {epochs}."] if broken else [])

    @cached_property
    def evolution(self) -> Evolution | None:
        """Projections of the features."""
        snapshots = _spread([s for s in record.read_snapshots(self.run) if np.isfinite(s.features).all()])
        if not snapshots:
            return None
        rows = snapshots[-1].rows
        labels = self.validation_samples["target"].to_numpy(dtype=np.int64)[rows]
        features = [snapshot.features for snapshot in snapshots]
        return Evolution(
            epochs=[snapshot.epoch for snapshot in snapshots],
            rows=rows,
            labels=labels,
            correct=snapshots[-1].probabilities.argmax(1) == labels,
            pca=pca_by_epoch(features),
            tsne=tsne_by_epoch(features) if len(rows) >= _FEWEST_FOR_TSNE else [],
            separability=[separability(of_epoch, labels) for of_epoch in features],
        )


def interval_text(figures: Figures) -> str:
    """The interval of top-1 in words."""
    if figures.top1_interval is None:
        return f"no interval ({figures.no_interval})"
    return f"95% interval {percents(figures.top1_interval)}"


def collect(
    runs: Sequence[RunDirectory],
    view: type[RunFigures] = RunFigures,
    together: type[Collected[RunFigures]] = Collected[RunFigures],
) -> Collected[RunFigures]:
    """Figures of runs, and their comparisons if they were scored on the same images. view: of each run."""
    figures = views(runs, view)
    first = figures[0].samples[["path", "class"]]
    same = all(first.equals(other.samples[["path", "class"]]) for other in figures[1:])
    return together.of(figures, same, _test, _without_leaked)


def _test(a: RunFigures, b: RunFigures) -> PairedTest:
    of_a, of_b = a.values.correct, b.values.correct
    return paired(of_a, of_b, a.groups)


def _without_leaked(a: RunFigures, b: RunFigures) -> WithoutLeaked | None:
    leaked = a.leaked | b.leaked
    if not leaked.any() or leaked.all():
        return None
    of_a, of_b, groups = a.values.correct, b.values.correct, a.groups
    clean = paired(of_a[~leaked], of_b[~leaked], None if groups is None else groups[~leaked])
    difference = np.column_stack([of_a.astype(float) - of_b, np.ones(len(of_a))])
    return without_leaked(difference, leaked, share_of, clean.interval, groups)


def _spread(snapshots: list[record.Snapshot]) -> list[record.Snapshot]:
    """At most six, the first and the last among them."""
    if len(snapshots) <= _MOST_EPOCHS_SHOWN:
        return snapshots
    chosen = np.linspace(0, len(snapshots) - 1, _MOST_EPOCHS_SHOWN).round().astype(int)
    return [snapshots[index] for index in chosen]


@dataclass(frozen=True)
class ClassValues:
    """Values of a classification run.

    correct: (N,). predicted: (N,) int64 in [0, C); None if it was not kept by epoch (runs of an older version): then
    all figures except top-1 are those of the kept weights.
    """

    correct: NDArray[np.bool_]
    predicted: NDArray[np.int64] | None
    choice: EpochChoice


def class_predictions(run: RunDirectory) -> record.ImagePredictions:
    """Predictions of the kept weights on `scored_samples`."""
    return record.read_predictions(run, scored_part(run))


def class_values(run: RunDirectory, choose: str | None) -> ClassValues:
    """Values of a scored run, in the order of `scored_samples`. choose: the recipe's rule for the kept epoch."""
    scored = class_predictions(run)
    of_kept = np.asarray(scored.probabilities.argmax(1))
    if run.has_test or choose != "best":
        return ClassValues(of_kept == scored.target, of_kept, EpochChoice(False, False))
    correct, folds = record.by_epoch(run), folds_of(run)
    choice = choice_among(len(correct), folds)
    if not choice.is_crossfitted:
        return ClassValues(of_kept == scored.target, of_kept, choice)
    best, classes = best_by_share(correct, folds), record.classes_by_epoch(run)
    predicted = None if classes is None else crossfitted(classes, folds, best).astype(np.int64)
    return ClassValues(crossfitted(correct, folds, best), predicted, choice)
