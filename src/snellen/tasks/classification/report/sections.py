"""The content of the page's sections: charts, tables and pictures from collected numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from snellen.insight.calibration import Calibration
from snellen.insight.classification import ClassFigures
from snellen.reporting import charts
from snellen.reporting.charts import Entry
from snellen.reporting.pictures import thumbnail
from snellen.reporting.runs import by_images, class_names, image_path, listed
from snellen.reporting.shared import (
    CommonSections,
    Gallery,
    Picture,
    cost,
    curves,
    difference_chart,
    share,
    title_of,
)
from snellen.run.directory import RunDirectory
from snellen.tasks.classification.report.collect import Collected, RunFigures
from snellen.tasks.classification.report.evolution import EvolutionView, evolutions
from snellen.words import counted

_MOST_CELLS = 60  # classes up to which a confusion matrix can be read
_MOST_PICTURES = 16
_MOST_ENTRIES = 60  # recalls that one chart shows


@dataclass(frozen=True)
class ConfusionView:
    """Confusions of a run. chart: None for many classes. pairs: the most frequent, (true, predicted, images)."""

    run: RunFigures
    chart: Markup | None
    pairs: list[tuple[str, str, int]]


@dataclass(frozen=True)
class Reliability:
    """The calibration of a run, with its diagram."""

    run: RunFigures
    chart: Markup
    calibration: Calibration


@dataclass(frozen=True)
class Dataset:
    """A set of images and the runs that were trained on it. data: data.json. source: without its folder.

    examples: (class, pictures). rows: (class, training images, validation images, share of the largest class); empty
    if there are no labels.
    """

    runs: list[RunFigures]
    data: dict[str, Any]
    source: str
    examples: list[tuple[str, list[str]]]
    rows: list[tuple[str, int, int, float]]


@dataclass(frozen=True)
class ClassSections(CommonSections):
    """The variables of classes.html.j2.

    class_chart: (number of classes, chart of recalls). class_rows: (class, images, (recall, precision, F1) for each
    run). names: of the classes. what_is_kept: names of the figures that are not cross-fitted. grouped: whether images
    come in groups.
    """

    collected: Collected
    class_chart: tuple[int, Markup] | None
    class_rows: list[tuple[str, int, list[tuple[str, str, str]]]]
    confusions: list[ConfusionView]
    reliabilities: list[Reliability]
    galleries: list[Gallery]
    datasets: list[Dataset]
    evolutions: list[EvolutionView]
    names: list[str]
    what_is_kept: str
    all_crossfitted: bool
    grouped: bool


def context(collected: Collected) -> ClassSections:
    """The variables of the template."""
    runs, scored = collected.runs, collected.scored
    return ClassSections(
        title=title_of(runs),
        measure_chart=_top1(scored, collected.measure),
        difference_chart=difference_chart(runs, collected.comparisons, collected.measure),
        curves=curves(runs, runs[0].curves),
        cost=[cost(run) for run in runs],
        collected=collected,
        class_chart=_classes(scored),
        class_rows=_class_rows(scored),
        confusions=[_confusion(run) for run in scored],
        reliabilities=[_reliability(run) for run in scored if run.calibration is not None],
        galleries=[_mistakes(run) for run in scored] + _disagreements(collected),
        datasets=datasets(runs),
        evolutions=evolutions(runs),
        names=class_names(runs),
        what_is_kept=_what_is_kept(scored),
        all_crossfitted=all(run.values.predicted is not None for run in scored),
        grouped=any(run.groups is not None for run in scored),
    )


def _what_is_kept(scored: list[RunFigures]) -> str:
    """The figures other than top-1 that are not cross-fitted although top-1 is."""
    runs = [run for run in scored if run.of_kept]
    names = ["top-5"] * any(run.figures is not None and run.figures.top5 is not None for run in runs)
    if any(run.values.predicted is None for run in runs):  # of an older version, which did not keep them
        names += ["balanced accuracy", "macro F1"]
    names += ["calibration error"] * any(run.calibration is not None for run in runs)
    return f"{names[0][0].upper()}{listed(names)[1:]}" if names else ""


def _top1(scored: list[RunFigures], measure: str) -> Markup | None:
    rows = []
    for run in scored:
        if run.figures is not None:
            entry = Entry(run.colour, run.figures.top1, run.figures.top1_interval, run.label)
            rows.append((run.label, [entry]))
    return Markup(charts.forest(rows, f"{measure} with 95% intervals")) if rows else None


def _by_class(run: RunFigures) -> dict[str, ClassFigures]:
    return {} if run.figures is None else dict(zip(run.run.classes, run.figures.classes, strict=True))


def _classes(scored: list[RunFigures]) -> tuple[int, Markup] | None:
    """The number of classes in the chart, and their recalls, the hardest first by the mean over the runs."""
    figures = [_by_class(run) for run in scored]
    rows: list[tuple[float, str, list[Entry]]] = []
    for name in class_names(scored):
        entries = [
            Entry(
                run.colour,
                of_run[name].recall,
                of_run[name].recall_interval,
                f"{run.label}: {counted(of_run[name].support, 'image')}",
            )
            for run, of_run in zip(scored, figures, strict=True)
            if name in of_run and of_run[name].support
        ]
        if entries:
            rows.append((sum(entry.value for entry in entries) / len(entries), name, entries))
    if not rows:
        return None
    most = max(8, _MOST_ENTRIES // len(scored))
    chart_rows = [(name, entries) for _, name, entries in sorted(rows, key=lambda row: row[0])[:most]]
    return len(chart_rows), Markup(charts.forest(chart_rows, "Recall of each class with 95% intervals"))


def _class_rows(scored: list[RunFigures]) -> list[tuple[str, int, list[tuple[str, str, str]]]]:
    """(class, images, (recall, precision, F1) for each scored run)."""
    by_run = [_by_class(run) for run in scored]

    def cells(figures: ClassFigures | None) -> tuple[str, str, str]:
        if figures is None:
            return "–", "–", "–"
        return share(figures.recall), share(figures.precision), share(figures.f1)

    return [
        (name, max(run[name].support for run in by_run if name in run), [cells(run.get(name)) for run in by_run])
        for name in class_names(scored)
    ]


def _confusion(run: RunFigures) -> ConfusionView:
    assert run.confusion is not None
    names = run.run.classes
    chart = None
    if len(names) <= _MOST_CELLS:
        chart = Markup(charts.confusion_matrix(run.confusion.counts, names, f"Confusion matrix of {run.label}"))
    pairs = [(names[true], names[predicted], images) for true, predicted, images in run.confusion.pairs]
    return ConfusionView(run, chart, pairs)


def _reliability(run: RunFigures) -> Reliability:
    assert run.calibration is not None
    chart = charts.reliability(run.calibration.bins, run.colour, f"Reliability of {run.label}")
    return Reliability(run, Markup(chart), run.calibration)


def _mistakes(run: RunFigures) -> Gallery:
    pictures = [
        _picture(run, m.row, m.prediction, m.confidence, m.target_confidence) for m in run.mistakes[:_MOST_PICTURES]
    ]
    wrong = int((~run.kept_correct).sum())
    return Gallery(run.label, run.colour, wrong, pictures, what="mistakes")


def _disagreements(collected: Collected) -> list[Gallery]:
    """For two runs: images that only one gets right by its kept weights, the other's most confident mistakes first."""
    if len(collected.scored) != 2 or not collected.comparisons:
        return []
    galleries = []
    for winner, loser in (collected.scored, collected.scored[::-1]):
        probabilities = loser.predictions.probabilities
        rows = np.flatnonzero(winner.kept_correct & ~loser.kept_correct)
        order = rows[np.argsort(-probabilities[rows].max(1), kind="stable")][:_MOST_PICTURES]
        predicted = probabilities.argmax(1)
        targets = loser.samples["target"].to_numpy()
        pictures = [
            _picture(
                loser,
                int(row),
                int(predicted[row]),
                float(probabilities[row].max()),
                float(probabilities[row, targets[row]]),
            )
            for row in order
        ]
        galleries.append(Gallery(f"only {winner.label} is right", winner.colour, len(rows), pictures))
    return galleries


def _picture(run: RunFigures, row: int, prediction: int, confidence: float, target_confidence: float) -> Picture:
    return Picture(
        picture=thumbnail(image_path(run.run, run.samples, row), run.bits()),
        path=str(run.samples["path"].iloc[row]),
        truth=str(run.samples["class"].iloc[row]),
        predicted=run.run.classes[prediction],
        confidence=confidence,
        target_confidence=target_confidence,
    )


def datasets(runs: list[RunFigures]) -> list[Dataset]:
    """Each set of images once, with the runs that were trained on it."""
    return [_dataset(group) for group in by_images(runs)]


def _dataset(runs: list[RunFigures]) -> Dataset:
    first, data = runs[0], runs[0].run.data
    source = str(data["source"])
    return Dataset(
        runs=runs,
        data=data,
        source=source if source.startswith("torchvision:") else Path(source).name,
        examples=first.examples(),
        rows=_counts(first.run),
    )


def _counts(run: RunDirectory) -> list[tuple[str, int, int, float]]:
    """(class, training images, validation images, share of the largest class); nothing if there are no labels."""
    if "per_class" not in run.data:
        return []
    train, validation = run.data["per_class"]["train"], run.data["per_class"]["validation"]
    largest = max(1, *train)
    return [(name, a, b, a / largest) for name, a, b in zip(run.classes, train, validation, strict=True)]
