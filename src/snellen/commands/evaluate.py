"""A trained run scored on new labelled images, or on new images with masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from snellen.data.given import check_path, check_source, name_of
from snellen.data.sources import labelled_images
from snellen.errors import UserError
from snellen.files import as_path, check_new_file, write_json
from snellen.insight.calibration import Calibration, calibration
from snellen.insight.classification import Figures, figures
from snellen.insight.proportions import Interval
from snellen.recipe.load import with_data_overrides
from snellen.run.directory import Run, load
from snellen.tasks.classification.inference import Predictor
from snellen.tasks.overlap import say_scored
from snellen.tasks.segmentation.evaluate import EvaluatedMasks, evaluate_segmenter, render_masks
from snellen.words import counted

if TYPE_CHECKING:
    from snellen.data.sources import Source


@dataclass(frozen=True, repr=False)
class Evaluated:
    """figures, calibration: as in the report. probabilities: (N, C). target: (N,). unreadable: left out."""

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


def evaluate(
    run: str | Path | Run,
    data: Source,
    out: str | Path | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    force: bool = False,
    console: Console | None = None,
    quiet: bool = False,
) -> Evaluated | EvaluatedMasks:
    """Scores the run's chosen epoch on labelled images, or images with masks, in any layout that `train` takes.

    data: as in `train`; of data that are split, the validation part is scored. out: a JSON file for the figures; force:
    replace one that is there. quiet: print nothing. overrides: data.* fields of
    the recipe, {"data.unreadable": "skip"}, for these images. Prints which images are scored, and whether the run was
    trained on them or its epoch chosen on them. Raises UserError for a class that the run does not know, and for
    unreadable images unless the recipe skips them.
    """
    console = console or Console(stderr=True, quiet=quiet)
    opened, data = load(run), check_source(data)
    out = None if out is None else as_path(out, "out")
    if out is not None:
        check_new_file(out, force)
    if opened.recipe.task == "segmentation":
        return evaluate_segmenter(opened, check_path(data), out, console, overrides)
    spec = with_data_overrides(opened.classification, overrides, "evaluate").data
    images = labelled_images(data, spec, opened.classes)
    paths = [images.root / sample.path for sample in images.validation]  # each once, as labelled_images has seen to
    say_scored(console, opened, paths, f"{name_of(data)}: {images.layout}; {images.split}", images.notes, spec.bits)
    probabilities: list[NDArray[np.float32]] = []
    target: list[int] = []
    names: list[str | None] = []
    unreadable: list[str] = []
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("scoring", total=len(paths))
        for batch in Predictor(opened, spec.bits).predict(paths):
            for error in batch.unreadable.values():
                if spec.unreadable == "error":
                    raise error
                unreadable.append(f"{error.path}: {error.reason}")
            if batch.rows:
                probabilities.append(batch.probabilities)
                target += [images.validation[row].label for row in batch.rows]
                names += [images.validation[row].group for row in batch.rows]
            bar.advance(task, len(batch))
    if not target:
        raise UserError(f"{name_of(data)}: none of its images can be read.")
    scores, truth = np.concatenate(probabilities), np.array(target, dtype=np.int64)
    groups = np.unique([str(name) for name in names], return_inverse=True)[1] if all(names) else None
    found, calibrated = figures(scores, truth, groups), calibration(scores, truth, groups)
    done = Evaluated(opened.classes, found, calibrated, scores, truth, unreadable)
    if out is not None:
        write_json(out, _as_json(done))
    return done


def render(evaluated: Evaluated | EvaluatedMasks) -> RenderableType:
    """The figures as text for people."""
    if isinstance(evaluated, EvaluatedMasks):
        return render_masks(evaluated)
    f, c = evaluated.figures, evaluated.calibration
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
    lines += [f"[yellow]unreadable, left out:[/] {escape(line)}" for line in evaluated.unreadable]
    return Group(table, *lines)


def _bounds(interval: Interval | None, reason: str | None) -> str:
    if interval is None:
        return f"no interval: {reason}"
    return f"95% interval {100 * interval.low:.2f} to {100 * interval.high:.2f}"


def _as_json(evaluated: Evaluated) -> dict[str, Any]:
    f, c = evaluated.figures, evaluated.calibration

    def pair(interval: Interval | None) -> list[float] | None:
        return None if interval is None else [interval.low, interval.high]

    return {
        "images": f.images,
        "correct": f.correct,
        "no_interval": f.no_interval,
        "top1": f.top1,
        "top1_interval": pair(f.top1_interval),
        "top5": f.top5,
        "top5_interval": pair(f.top5_interval),
        "balanced_accuracy": f.balanced,
        "balanced_accuracy_interval": pair(f.balanced_interval),
        "macro_f1": f.macro_f1,
        "macro_f1_interval": pair(f.macro_f1_interval),
        "l2_calibration_error": c.error,
        "l2_calibration_error_interval": pair(c.error_interval),
        "brier": c.brier,
        "negative_log_likelihood": c.negative_log_likelihood,
        "classes": [
            {"class": name, "images": each.support, "recall": each.recall if each.support else None}
            for name, each in zip(evaluated.classes, f.classes, strict=True)
        ],
        "unreadable": evaluated.unreadable,
    }
