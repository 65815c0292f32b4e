"""The data with which the page's script shows how features move from epoch to epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from snellen.insight.separability import Separability
from snellen.reporting.pictures import sprite
from snellen.reporting.runs import class_names, image_path
from snellen.tasks.classification.report.collect import Evolution, RunFigures


@dataclass(frozen=True)
class EvolutionView:
    """The features of a run over its epochs.

    figures: (k-NN accuracy, silhouette, effective rank) as text for each epoch. neighbours: k. images: number. data:
    what the script reads, as JSON. sprite: a sheet of thumbnails, None if an earlier run has it.
    """

    run: RunFigures
    epochs: list[int]
    figures: list[list[str]]
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
                epochs=evolution.epochs,
                figures=[_figures(figures) for figures in evolution.separability],
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
