"""The content of the page's sections: charts, tables and pictures from collected numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from snellen.insight.calibration import Calibration
from snellen.insight.classification import ClassFigures
from snellen.insight.confusion import Mistake, confident_mistakes
from snellen.insight.separability import Separability
from snellen.reporting import by_class, charts
from snellen.reporting.charts import Entry
from snellen.reporting.collected import Collected
from snellen.reporting.pictures import sprite, thumbnail
from snellen.reporting.runs import class_names, image_path, listed
from snellen.reporting.shared import Gallery, Picture
from snellen.tasks.classification.report.collect import Evolution, RunFigures
from snellen.tasks.classification.report.saliency import Looks
from snellen.words import counted

_MOST_PICTURES = 16


@dataclass(frozen=True)
class Reliability:
    """The calibration of a run, with its diagram."""

    run: RunFigures
    chart: Markup
    calibration: Calibration


@dataclass(frozen=True)
class ClassSections:
    """What classes.html.j2 uses in addition to what all pages have.

    class_chart: (number of classes, chart of recalls). what_is_kept: names of the figures that are not cross-fitted.
    """

    class_chart: tuple[int, Markup] | None
    class_rows: list[by_class.ClassRow[ClassFigures]]
    confusions: list[by_class.ConfusionView[RunFigures]]
    reliabilities: list[Reliability]
    galleries: list[Gallery]
    looks: list[Looks]
    datasets: list[by_class.Dataset[RunFigures]]
    evolutions: list[EvolutionView]
    what_is_kept: str
    all_crossfitted: bool


def sections(collected: Collected[RunFigures], looks: list[Looks]) -> ClassSections:
    """What the template may use in addition to what all pages have. looks: saliency maps."""
    runs, scored = collected.runs, collected.scored
    return ClassSections(
        class_chart=by_class.class_chart(scored, _recall, "Recall"),
        class_rows=by_class.class_rows([run.by_class for run in scored], lambda figures: figures.support),
        confusions=[by_class.confusion_view(run, run.confusion) for run in scored if run.confusion is not None],
        reliabilities=[_reliability(run) for run in scored if run.calibration is not None],
        galleries=[_mistakes(run) for run in scored] + _disagreements(collected),
        looks=looks,
        datasets=class_datasets(runs),
        evolutions=evolutions(runs),
        what_is_kept=_what_is_kept(scored),
        all_crossfitted=all(run.values.predicted is not None for run in scored),
    )


def _what_is_kept(scored: list[RunFigures]) -> str:
    """The figures other than top-1 that are not cross-fitted although top-1 is."""
    runs = [run for run in scored if run.of_kept]
    names = ["top-5"] * any(run.figures is not None and run.figures.top5 is not None for run in runs)
    if any(run.values.predicted is None for run in runs):  # of an older version, which did not keep them
        names += ["balanced accuracy", "macro F1"]
    names += ["calibration error"] * any(run.calibration is not None for run in runs)
    return f"{names[0][0].upper()}{listed(names)[1:]}" if names else ""


def _recall(run: RunFigures, name: str) -> Entry | None:
    figures = run.by_class.get(name)
    if figures is None or not figures.support:
        return None
    return Entry(
        run.colour, figures.recall, figures.recall_interval, f"{run.label}: {counted(figures.support, 'image')}"
    )


def _reliability(run: RunFigures) -> Reliability:
    assert run.calibration is not None
    chart = charts.reliability(run.calibration.bins, run.colour, f"Reliability of {run.label}")
    return Reliability(run, Markup(chart), run.calibration)


def _mistakes(run: RunFigures) -> Gallery:
    scored = run.predictions
    mistakes = confident_mistakes(scored.probabilities, scored.target, _MOST_PICTURES)
    pictures = [_picture(run, mistake) for mistake in mistakes]
    wrong = int((~run.kept_correct).sum())
    return Gallery(run.label, run.colour, wrong, pictures, what="mistakes")


def _disagreements(collected: Collected[RunFigures]) -> list[Gallery]:
    """For two runs: images that only one gets right by its kept weights, the other's most confident mistakes first."""
    if len(collected.scored) != 2 or not collected.comparisons:
        return []
    galleries = []
    for winner, loser in (collected.scored, collected.scored[::-1]):
        count = int((winner.kept_correct & ~loser.kept_correct).sum())
        scored = loser.predictions
        mistakes = confident_mistakes(scored.probabilities, scored.target, _MOST_PICTURES, among=winner.kept_correct)
        pictures = [_picture(loser, mistake) for mistake in mistakes]
        galleries.append(Gallery(f"only {winner.label} is right", winner.colour, count, pictures))
    return galleries


def _picture(run: RunFigures, mistake: Mistake) -> Picture:
    sample = run.samples.iloc[mistake.row]
    return Picture(
        picture=thumbnail(run.run.image(sample["path"]), run.bits()),
        path=sample["path"],
        truth=sample["class"],
        predicted=run.run.classes[mistake.prediction],
        confidence=mistake.confidence,
        target_confidence=mistake.target_confidence,
    )


def class_datasets(runs: list[RunFigures]) -> list[by_class.Dataset[RunFigures]]:
    """Each set of images once, with pictures of its classes and their numbers of images."""
    return by_class.datasets(runs, lambda run: run.examples(), _counts)


def _counts(view: RunFigures) -> list[tuple[str, float, float, float]]:
    """(class, training images, validation images, share of the largest class); nothing if there are no labels."""
    run = view.run
    if "per_class" not in run.data:
        return []
    train, validation = run.data["per_class"]["train"], run.data["per_class"]["validation"]
    largest = max(1, *train)
    return [(name, a, b, a / largest) for name, a, b in zip(run.classes, train, validation, strict=True)]


@dataclass(frozen=True)
class EvolutionView:
    """The features of a run over its epochs.

    neighbours: k. images: number. data: what the script reads, as JSON, with the epochs and their figures: (k-NN
    accuracy, silhouette, effective rank) as text. sprite: a sheet of thumbnails, None if an earlier run has it.
    """

    run: RunFigures
    neighbours: int
    images: int
    data: dict[str, Any]
    sprite: str | None


def evolutions(runs: list[RunFigures]) -> list[EvolutionView]:
    """Points and figures of each run with snapshots; one sheet of thumbnails serves runs that show the same images."""
    numbers = {name: number for number, name in enumerate(class_names(runs))}
    drawn: list[EvolutionView] = []
    sheets: dict[tuple[str, ...], int] = {}
    for run in runs:
        evolution = run.evolution
        if evolution is None:
            continue
        paths = [image_path(run.run, run.validation_samples, int(row)) for row in evolution.rows]
        key = tuple(str(path) for path in paths)
        new = key not in sheets
        sheet = sheets.setdefault(key, len(drawn))
        labels = np.array([numbers[name] for name in run.run.classes])[evolution.labels]
        drawn.append(
            EvolutionView(
                run=run,
                neighbours=evolution.separability[0].neighbours,
                images=len(evolution.rows),
                data={
                    "points": _points(evolution),
                    "epochs": evolution.epochs,
                    "figures": [_figures(figures) for figures in evolution.separability],
                    "labels": labels.tolist(),
                    "correct": evolution.correct.astype(int).tolist(),
                    "sheet": sheet,
                    "names": [str(run.validation_samples["path"].iloc[int(row)]) for row in evolution.rows],
                },
                sprite=sprite(paths, run.bits()) if new else None,
            )
        )
    return drawn


def _points(evolution: Evolution) -> dict[str, list[list[list[float]]]]:
    """Positions of all points at each epoch, by projection, in thousandths of the picture's side.

    All epochs of a run share one frame, so that a move in the picture is a move of the features.
    """
    positions = {}
    for name, pictures in (("pca", evolution.pca), ("tsne", evolution.tsne)):
        if not pictures:
            continue
        all_points = np.concatenate(pictures)
        low, high = all_points.min(0), all_points.max(0)
        side = float((high - low).max()) or 1.0
        positions[name] = [
            ((picture - (low + high) / 2) / side * 1000 + 500).round().astype(int).tolist() for picture in pictures
        ]
    return positions


def _figures(figures: Separability) -> list[str]:
    """k-NN accuracy, silhouette, effective rank, as shown."""
    knn = f"{figures.knn:.1%}" if math.isfinite(figures.knn) else "–"
    silhouette = f"{figures.silhouette:.2f}".replace("-", "−") if math.isfinite(figures.silhouette) else "–"
    return [knn, silhouette, f"{figures.effective_rank:.1f}"]
