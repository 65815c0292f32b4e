"""A trained classifier scored on new labelled images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from snellen.data.disk_cache import DiskCache
from snellen.data.given import name_of
from snellen.data.listing import DataSpec, Source
from snellen.data.sources import labelled_images
from snellen.errors import UserError
from snellen.insight.calibration import Calibration, calibration
from snellen.insight.classification import Figures, figures
from snellen.insight.groups import group_numbers
from snellen.insight.proportions import Interval, percents
from snellen.recipe.load import with_data_overrides
from snellen.run.directory import RunDirectory
from snellen.tasks.classification.inference import ClassPredictor, Predictor
from snellen.tasks.classification.recipe import Recipe
from snellen.tasks.classification.record import recipe_of
from snellen.tasks.classification.report.numbers import calibration_numbers, figure_numbers
from snellen.tasks.overlap import say_scored
from snellen.words import counted


@dataclass(frozen=True, repr=False)
class Evaluated:
    """figures, calibration: as in the report. probabilities: (N, C). target: (N,). unreadable: images left out."""

    classes: list[str]
    figures: Figures
    calibration: Calibration
    probabilities: NDArray[np.float32]
    target: NDArray[np.int64]
    unreadable: list[str]

    def __repr__(self) -> str:
        f = self.figures
        return (
            f"Evaluated on {counted(f.images, 'image')}, {counted(len(self.classes), 'class', 'classes')}: top-1 "
            f"{f.top1:.2%} ({_bounds(f.top1_interval, f.no_interval)})"
        )

    def render(self) -> RenderableType:
        """The figures as text."""
        f, c = self.figures, self.calibration
        table = Table(box=None, pad_edge=False, show_header=False)
        rows = [
            ("top-1", f.top1, f.top1_interval, f.no_interval),
            ("top-5", f.top5, f.top5_interval, f.no_interval),
            ("balanced accuracy", f.balanced, f.balanced_interval, f.no_interval),
            ("macro F1", f.macro_f1, f.macro_f1_interval, f.no_interval),
            ("l2 calibration error", c.error, c.error_interval, c.no_interval),
        ]
        for name, value, interval, reason in rows:
            if value is not None:
                table.add_row(name, f"{value:.2%}", _bounds(interval, reason))
        lines = [f"{f.correct:,} of {counted(f.images, 'image is', 'images are')} right."]
        lines += [f"[yellow]unreadable, left out:[/] {escape(line)}" for line in self.unreadable]
        return Group(table, *lines)

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            **figure_numbers(self.figures),
            **calibration_numbers(self.calibration),
            "classes": [
                {"class": name, "images": entry.support, "recall": entry.recall if entry.support else None}
                for name, entry in zip(self.classes, self.figures.classes, strict=True)
            ],
            "unreadable": self.unreadable,
        }


def evaluate(run: RunDirectory, data: Source, overrides: Mapping[str, Any] | None, console: Console) -> Evaluated:
    """Scores the run's chosen epoch on labelled images.

    Raises UserError for a class that the run does not know, and for unreadable images unless the recipe skips them.
    """
    recipe = with_data_overrides(recipe_of(run), overrides, "evaluate")
    predictor = Predictor(run, recipe.data.bits, DiskCache(recipe.data.disk_cache_mib))
    return evaluate_with(predictor, run.classes, run, recipe, data, console)


def evaluate_with(
    predictor: ClassPredictor,
    classes: list[str],
    run: RunDirectory | None,
    recipe: Recipe,
    data: Source,
    console: Console,
) -> Evaluated:
    """Scores a network on labelled images. run: that it was trained in, None if it is not known. Raises as `evaluate`.

    recipe: with the data fields by which these images are read.
    """
    images = labelled_images(data, recipe.data, classes)
    say_scored(console, run, recipe, images, name_of(data))
    paths = [images.root / sample.path for sample in images.validation]  # no duplicates: labelled_images removes them
    scores, rows, unreadable = _score(predictor, len(classes), paths, recipe.data, console)
    if not rows:
        raise UserError(f"{name_of(data)}: none of its images can be read.")
    samples = [images.validation[row] for row in rows]
    target = np.array([sample.label for sample in samples], dtype=np.int64)
    groups = group_numbers(sample.group for sample in samples)
    return Evaluated(
        classes=classes,
        figures=figures(scores, target, groups),
        calibration=calibration(scores, target, groups),
        probabilities=scores,
        target=target,
        unreadable=unreadable,
    )


def score_test(
    run: RunDirectory, samples: pd.DataFrame, console: Console
) -> tuple[dict[str, NDArray[Any]], Sequence[str]]:
    """The arrays of predictions/test.npz but for its epoch, and unreadable images with the reason."""
    paths = [run.image(path) for path in samples["path"]]
    spec = recipe_of(run).data.model_copy(update={"unreadable": "skip"})
    predictor = Predictor(run, spec.bits, DiskCache(spec.disk_cache_mib))
    scores, rows, unreadable = _score(predictor, len(run.classes), paths, spec, console)
    target = samples["target"].to_numpy(np.int64)[rows]
    return {"probabilities": scores, "target": target, "rows": np.array(rows, np.int64)}, unreadable


def _score(
    predictor: ClassPredictor, classes: int, paths: Sequence[Path], spec: DataSpec, console: Console
) -> tuple[NDArray[np.float32], list[int], list[str]]:
    """Probabilities of images, (n, classes), which rows of `paths` these are, and what is wrong with the others."""
    probabilities, rows, left_out = [np.empty((0, classes), np.float32)], list[int](), list[str]()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("scoring", total=len(paths))
        for batch in predictor.predict(paths):
            for error in batch.unreadable.values():
                if spec.unreadable == "error":
                    raise error
                left_out.append(error.line)
            if batch.rows:
                probabilities.append(batch.probabilities)
                rows += batch.rows
            bar.advance(task, len(batch))
    return np.concatenate(probabilities), rows, left_out


def _bounds(interval: Interval | None, reason: str | None) -> str:
    if interval is None:
        return f"no interval: {reason}"
    return f"95% interval {percents(interval, digits=2)}"
