"""Classes of unlabelled images, as a table."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from snellen.data.sources import list_images
from snellen.engine.run_directory import Run
from snellen.files import replacing
from snellen.tasks.inference import PredictedBatch, Predictor


@dataclass(frozen=True)
class Predicted:
    """path: the table. predicted, unreadable: how many images."""

    path: Path
    predicted: int
    unreadable: int


def predict(
    run: str | Path | Run,
    images: str | Path | Sequence[str | Path],
    out: str | Path = "predictions.csv",
    *,
    top_k: int = 5,
    console: Console | None = None,
) -> Predicted:
    """Writes a CSV table with the most probable classes of each image, in bounded memory.

    run: a run directory. images: files, folders (searched at any depth) or globs. Columns: path, class, probability,
    then class_2, probability_2 … up to top_k, and error for images that could not be read; these have no class.
    Raises UserError when no image is found or the run has no weights.
    """
    console = console or Console(stderr=True)
    opened = run if isinstance(run, Run) else Run(Path(run))
    paths = list_images([images] if isinstance(images, str | Path) else images)
    top_k = min(top_k, len(opened.classes))
    predictor = Predictor(opened)
    predicted = unreadable = 0
    with replacing(Path(out)) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        more = [f"{name}_{rank}" for rank in range(2, top_k + 1) for name in ("class", "probability")]
        writer.writerow(["path", "class", "probability", *more, "error"])
        with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task("predicting", total=len(paths))
            for batch in predictor.predict(paths):
                writer.writerows(_rows(batch, opened.classes, top_k))
                predicted += len(batch.paths)
                unreadable += len(batch.unreadable)
                bar.advance(task, len(batch.paths) + len(batch.unreadable))
                for error in batch.unreadable:
                    console.print(f"[yellow]unreadable:[/] {error.path}: {error.reason}", highlight=False)
    return Predicted(Path(out), predicted, unreadable)


def _rows(batch: PredictedBatch, classes: list[str], top_k: int) -> list[list[str]]:
    rows = []
    for path, probabilities in zip(batch.paths, batch.probabilities, strict=True):
        best = np.argsort(-probabilities, kind="stable")[:top_k]
        cells = [text for index in best for text in (classes[index], f"{probabilities[index]:.6f}")]
        rows.append([str(path), *cells, ""])
    rows += [[str(error.path), *[""] * (2 * top_k), error.reason] for error in batch.unreadable]
    return rows
