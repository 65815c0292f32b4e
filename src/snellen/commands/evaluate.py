"""A trained run scored on new labelled images, or on new images with masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from snellen.commands.evaluate_segmenter import EvaluatedMasks, evaluate_segmenter, render_masks
from snellen.commands.overlap import say_scored
from snellen.data.sources import labelled_images
from snellen.engine.run_directory import Run
from snellen.errors import UserError
from snellen.files import write_json
from snellen.insight.calibration import Calibration, calibration
from snellen.insight.classification import Figures, figures
from snellen.insight.proportions import Interval
from snellen.recipe.load import with_data_overrides
from snellen.tasks.inference import Predictor


@dataclass(frozen=True)
class Evaluated:
    """figures, calibration: as in the report. probabilities: (N, C). target: (N,). unreadable: left out."""

    classes: list[str]
    figures: Figures
    calibration: Calibration
    probabilities: NDArray[np.float32]
    target: NDArray[np.int64]
    unreadable: list[str]


def evaluate(
    run: str | Path | Run,
    data: str | Path,
    out: str | Path | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    console: Console | None = None,
) -> Evaluated | EvaluatedMasks:
    """Scores the run's chosen epoch on labelled images, or images with masks, in any layout that `train` takes.

    Of data that are split, the validation part is scored. out: a JSON file for the figures. overrides: data.* fields of
    the recipe, {"data.unreadable": "skip"}, for these images. Prints which images are scored, and whether the run was
    trained on them or its epoch chosen on them. Raises UserError for a class that the run does not know, and for
    unreadable images unless the recipe skips them.
    """
    console = console or Console(stderr=True)
    opened = run if isinstance(run, Run) else Run(Path(run))
    if opened.recipe.task == "segmentation":
        return evaluate_segmenter(opened, data, out, console, overrides)
    spec = with_data_overrides(opened.classification, overrides, "evaluate").data
    images = labelled_images(data, spec, opened.classes)
    paths = [images.root / sample.path for sample in images.validation]
    say_scored(console, opened, paths, f"{data}: {images.layout}; {images.split}", images.notes, spec.bits)
    labels = {images.root / sample.path: sample.label for sample in images.validation}
    group_of = {images.root / sample.path: sample.group for sample in images.validation}
    probabilities: list[NDArray[np.float32]] = []
    target: list[int] = []
    names: list[str | None] = []
    unreadable: list[str] = []
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("scoring", total=len(labels))
        for batch in Predictor(opened, spec.bits).predict(list(labels)):
            if batch.unreadable and spec.unreadable == "error":
                raise batch.unreadable[0]
            unreadable += [f"{error.path}: {error.reason}" for error in batch.unreadable]
            if batch.paths:
                probabilities.append(batch.probabilities)
                target += [labels[path] for path in batch.paths]
                names += [group_of[path] for path in batch.paths]
            bar.advance(task, len(batch.paths) + len(batch.unreadable))
    if not target:
        raise UserError(f"{data}: none of its images can be read.")
    scores, truth = np.concatenate(probabilities), np.array(target, dtype=np.int64)
    groups = np.unique([str(name) for name in names], return_inverse=True)[1] if all(names) else None
    found, calibrated = figures(scores, truth, groups), calibration(scores, truth, groups)
    done = Evaluated(opened.classes, found, calibrated, scores, truth, unreadable)
    if out is not None:
        write_json(Path(out), _as_json(done))
    return done


def render(evaluated: Evaluated | EvaluatedMasks) -> RenderableType:
    """The figures as text for people."""
    if isinstance(evaluated, EvaluatedMasks):
        return render_masks(evaluated)
    f, c = evaluated.figures, evaluated.calibration
    table = Table(box=None, pad_edge=False, show_header=False)
    rows: list[tuple[str, float, Interval]] = [("top-1", f.top1, f.top1_interval)]
    if f.top5 is not None and f.top5_interval is not None:
        rows.append(("top-5", f.top5, f.top5_interval))
    rows += [
        ("balanced accuracy", f.balanced, f.balanced_interval),
        ("macro F1", f.macro_f1, f.macro_f1_interval),
        ("expected calibration error", c.ece, c.ece_interval),
    ]
    for name, value, interval in rows:
        table.add_row(name, f"{value:.2%}", f"95% interval {100 * interval.low:.2f} to {100 * interval.high:.2f}")
    lines = [f"{f.correct:,} of {f.images:,} images are right."]
    lines += [f"[yellow]unreadable, left out:[/] {escape(line)}" for line in evaluated.unreadable]
    return Group(table, *lines)


def _as_json(evaluated: Evaluated) -> dict[str, Any]:
    f, c = evaluated.figures, evaluated.calibration

    def pair(interval: Interval | None) -> list[float] | None:
        return None if interval is None else [interval.low, interval.high]

    return {
        "images": f.images,
        "correct": f.correct,
        "top1": f.top1,
        "top1_interval": pair(f.top1_interval),
        "top5": f.top5,
        "top5_interval": pair(f.top5_interval),
        "balanced_accuracy": f.balanced,
        "balanced_accuracy_interval": pair(f.balanced_interval),
        "macro_f1": f.macro_f1,
        "macro_f1_interval": pair(f.macro_f1_interval),
        "ece": c.ece,
        "ece_interval": pair(c.ece_interval),
        "brier": c.brier,
        "negative_log_likelihood": c.negative_log_likelihood,
        "classes": [
            {"class": name, "images": each.support, "recall": each.recall if each.support else None}
            for name, each in zip(evaluated.classes, f.classes, strict=True)
        ],
        "unreadable": evaluated.unreadable,
    }
