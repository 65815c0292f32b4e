"""A trained segmentation run scored on new images with masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from snellen.data.decode import UnreadableImageError
from snellen.data.disk_cache import DiskCache
from snellen.data.given import check_path
from snellen.data.listing import Source
from snellen.data.masks.augment import MaskAugmentation
from snellen.data.masks.cache import PairFiles, load_pairs
from snellen.data.masks.classes import ClassTable
from snellen.data.masks.feed import MaskFeed
from snellen.data.masks.resize import TrainingSizes
from snellen.data.masks.sources import MaskedSample, masks_to_score
from snellen.data.normalization import Normalization
from snellen.data.store import CacheBudget
from snellen.errors import UserError
from snellen.insight.groups import group_numbers
from snellen.insight.mask_words import over_classes, why_no_interval
from snellen.insight.proportions import Interval
from snellen.insight.segmentation import MaskFigures, counts_of, mask_figures
from snellen.models.segmenters.build import load_trained_segmenter
from snellen.recipe.load import with_data_overrides
from snellen.run.directory import RunDirectory
from snellen.tasks.arithmetic import arithmetic_of
from snellen.tasks.overlap import say_scored
from snellen.tasks.segmentation.inference import training_sizes
from snellen.tasks.segmentation.recipe import SegmentationRecipe
from snellen.tasks.segmentation.record import recipe_of
from snellen.tasks.segmentation.report.numbers import class_numbers, figure_numbers
from snellen.tasks.segmentation.task import Logits, MaskScores, network_logits, score_masks
from snellen.words import counted


@dataclass(frozen=True, repr=False)
class EvaluatedMasks:
    """figures: as in the report. scores: the counts behind them, for each image of `paths`. unreadable: left out.

    tolerance: of the boundary F-score, in pixels.
    """

    classes: list[str]
    figures: MaskFigures
    scores: MaskScores
    paths: list[str]
    tolerance: int
    unreadable: list[str]

    def __repr__(self) -> str:
        f = self.figures
        return (
            f"EvaluatedMasks on {counted(f.images, 'image')}, {counted(len(self.classes), 'class', 'classes')}: mIoU "
            f"{f.miou:.4f} ({_bounds(f.miou_interval, self.why_no_interval)})"
        )

    @property
    def why_no_interval(self) -> str:
        """Why the means over all classes have no interval, as text; empty if they have one."""
        return why_no_interval(self.figures, self.classes) or ""

    def render(self) -> RenderableType:
        """The figures as text."""
        f = self.figures
        means = Table(box=None, pad_edge=False, show_header=False)
        outline = f"boundary F, {self.tolerance} px"
        rows = [
            ("mIoU", f.miou, f.miou_interval),
            ("pixel accuracy", f.pixel_accuracy, f.pixel_accuracy_interval),
            ("Dice", f.dice, f.dice_interval),
            (outline, f.boundary_f, f.boundary_f_interval),
        ]
        if f.common is not None:
            over = f", over {over_classes(f.common.classes, self.classes)}"
            rows.insert(1, (f"mIoU{over}", f.common.miou, f.common.miou_interval))
        for name, value, interval in rows:
            means.add_row(escape(name), f"{value:.4f}", _bounds(interval, self.why_no_interval))
        classes = Table(box=None, pad_edge=False)
        for column in ("class", "share of pixels", "IoU", "95% interval", "boundary F"):
            classes.add_column(column, justify="left" if column == "class" else "right")
        for name, entry in zip(self.classes, f.classes, strict=True):
            bounds = "" if entry.enough or np.isnan(entry.iou) else "too few images"
            if entry.iou_interval is not None:
                bounds = f"{entry.iou_interval.low:.3f} to {entry.iou_interval.high:.3f}"
            classes.add_row(escape(name), f"{entry.share:.2%}", _score(entry.iou), bounds, _score(entry.boundary_f))
        lines = [f"{counted(f.images, 'image')}, ignored pixels left out."]
        lines += [f"[yellow]unreadable, left out:[/] {escape(line)}" for line in self.unreadable]
        return Group(means, "", classes, "", *lines)

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            **figure_numbers(self.figures, self.classes, self.tolerance),
            "classes": [
                {"class": name, "share": entry.share, **class_numbers(entry)}
                for name, entry in zip(self.classes, self.figures.classes, strict=True)
            ],
            "unreadable": self.unreadable,
        }


@dataclass(frozen=True)
class Scorer:
    """A trained network, as images with masks are scored with it.

    logits_of: the network, which takes images on `device` that are normalised so. training: sizes of its images.
    """

    logits_of: Logits
    normalization: Normalization
    device: torch.device
    channels_last: bool
    training: TrainingSizes | None


def evaluate(run: RunDirectory, data: Source, overrides: Mapping[str, Any] | None, console: Console) -> EvaluatedMasks:
    """Scores the run's chosen epoch on images with masks, as its own validation was: at the masks' resolution.

    If the data are split, the validation part is scored. Raises UserError for classes other than the run's, and for
    pairs that cannot be used unless the run's recipe skips them.
    """
    recipe = with_data_overrides(recipe_of(run), overrides, "evaluate")
    return evaluate_with(_scorer(run, recipe), ClassTable.recorded(run.data), run, recipe, data, console)


def evaluate_with(
    scorer: Scorer,
    classes: ClassTable,
    run: RunDirectory | None,
    recipe: SegmentationRecipe,
    data: Source,
    console: Console,
) -> EvaluatedMasks:
    """Scores a network on images with masks. Raises as `evaluate`.

    run: that the network was trained in, None if it is not known. recipe: with the data fields by which these images
    are read.
    """
    images = masks_to_score(check_path(data), recipe.data, classes)
    say_scored(console, run, recipe, images, str(data))
    scores, rows, failed = score_pairs(scorer, recipe, images.root, images.validation, images.classes, console)
    samples = [images.validation[row] for row in rows]
    groups = group_numbers(sample.group for sample in samples)
    return EvaluatedMasks(
        classes=list(classes.names),
        figures=mask_figures(counts_of(scores.confusion), scores.boundary, groups),
        scores=scores,
        paths=[sample.path for sample in samples],
        tolerance=recipe.evaluation.tolerance,
        unreadable=[error.line for error in failed],
    )


def score_test(
    run: RunDirectory, samples: pd.DataFrame, console: Console
) -> tuple[dict[str, NDArray[Any]], Sequence[str]]:
    """The arrays of predictions/test.npz but for its epoch, and unreadable images with the reason."""
    recipe = with_data_overrides(recipe_of(run), {"data.unreadable": "skip"}, "train")
    pairs = [MaskedSample(row["path"], row["mask"]) for row in samples.to_dict("records")]
    classes = ClassTable.recorded(run.data)
    scores, rows, failed = score_pairs(_scorer(run, recipe), recipe, run.image(""), pairs, classes, console)
    arrays = {"confusion": scores.confusion, "boundary": scores.boundary, "rows": np.array(rows, np.int64)}
    return arrays, [error.line for error in failed]


def _scorer(run: RunDirectory, recipe: SegmentationRecipe) -> Scorer:
    arithmetic = arithmetic_of(run, recipe)
    model = load_trained_segmenter(run, recipe.model).to(arithmetic.device)
    arithmetic.mode.apply(model)
    return Scorer(
        network_logits(model, arithmetic.autocast, recipe.evaluation.flip),
        arithmetic.normalization,
        arithmetic.device,
        arithmetic.mode.channels_last,
        training_sizes(run.data),
    )


def score_pairs(
    scorer: Scorer,
    recipe: SegmentationRecipe,
    root: Path,
    samples: Sequence[MaskedSample],
    classes: ClassTable,
    console: Console,
) -> tuple[MaskScores, list[int], list[UnreadableImageError]]:
    """Scores of a network, the indices of the scored `samples`, and errors for the others.

    The paths of samples are relative to `root`. Raises UserError if no pixel is scored, and for pairs that
    cannot be used unless the recipe skips them.
    """
    pairs = PairFiles(
        [(root / sample.path, root / sample.mask) for sample in samples],
        recipe.data.reading(classes),
        recipe.evaluation.resize,
        masks_too=False,
        training=scorer.training,
        bits=recipe.data.bits,
    )
    loaded = load_pairs(pairs, CacheBudget(recipe.data.cache_mib, disk=DiskCache(recipe.data.disk_cache_mib)))
    if loaded.failed and recipe.data.unreadable == "error":
        raise loaded.failed[0]
    if not loaded.pixels.class_pixels[:, :-1].any():
        raise UserError(f"{root}: no pixel of its masks is scored. Ignored: {classes.ignored_text}.")
    augmentation = MaskAugmentation(recipe.augmentation, recipe.evaluation, scorer.normalization, scorer.device)
    feed = MaskFeed(
        pixels=loaded.pixels,
        augmentation=augmentation,
        batch_size=recipe.batch_size,
        drop_last=False,
        seed=recipe.seed,
        device=scorer.device,
        channels_last=scorer.channels_last,
    )
    total, quiet = len(feed.evaluation_batches()), not console.is_terminal
    batches = track(feed.evaluate(), "scoring", total, console=console, transient=True, disable=quiet)
    scores = score_masks(scorer.logits_of, iter(batches), len(classes), recipe.evaluation)
    return scores, loaded.rows, loaded.failed


def _bounds(interval: Interval | None, why_not: str) -> str:
    if interval is None:
        return f"no interval: {why_not}" if why_not else "no interval"
    return f"95% interval {interval.low:.4f} to {interval.high:.4f}"


def _score(value: float) -> str:
    return "absent" if np.isnan(value) else f"{value:.3f}"
