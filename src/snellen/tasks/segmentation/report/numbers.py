"""The numbers of a report of segmenters, for JSON and CSV."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from snellen.insight.mask_words import why_no_interval
from snellen.insight.segmentation import MaskClassFigures, MaskFigures, by_image
from snellen.reporting.runs import ends, finite, run_numbers, table_row
from snellen.tasks.segmentation.report.collect import CollectedMasks, MaskRun

_OVER_CLASSES = ("miou", "dice", "boundary_f")
_WITH_INTERVALS = ("miou", "pixel_accuracy", "dice", "boundary_f")


def numbers(collected: CollectedMasks) -> dict[str, Any]:
    """All of them."""
    return collected.numbers(_run_numbers, of_test=("better_a", "better_b", "measure", "why_no_test"))


def rows(collected: CollectedMasks) -> list[dict[str, Any]]:
    """One row per run."""
    return [_row(run) for run in collected.runs]


def _row(run: MaskRun) -> dict[str, Any]:
    numbers = _run_numbers(run)
    others = numbers.get("over_the_others")
    if others is not None:
        numbers |= {f"over_the_others_{key}": value for key, value in others.items() if key.startswith("miou")}
    return table_row(run, numbers, (*_WITH_INTERVALS, "over_the_others_miou"))


def _run_numbers(run: MaskRun) -> dict[str, Any]:
    shared = run_numbers(run)
    figures = run.figures
    if figures is None or run.confusion is None:
        return shared
    return {
        **shared,
        **figure_numbers(figures, run.run.classes, run.recipe.evaluation.tolerance),
        "kept_miou": None if run.kept_score is None else finite(run.kept_score),
        "confusion": run.confusion.counts.tolist(),
        "classes": [
            {"class": name, "colour": colour, "share_of_pixels": finite(of_class.share), **class_numbers(of_class)}
            for name, colour, of_class in zip(run.run.classes, run.run.data["colours"], figures.classes, strict=True)
        ],
        "per_image": [
            {"path": path, "miou": finite(float(value))}
            for path, value in zip(run.samples["path"], by_image(run.predictions.confusion)[0], strict=True)
        ],
    }


def figure_numbers(figures: MaskFigures, classes: Sequence[str], tolerance: int) -> dict[str, Any]:
    """Figures over all classes, for JSON. tolerance: of the boundary F-score, in pixels."""
    single: dict[str, Any] = {}
    for name in _WITH_INTERVALS:
        single[name] = finite(getattr(figures, name))
        interval = ends(getattr(figures, f"{name}_interval"))
        single[f"{name}_interval"] = None if single[name] is None else interval
    common = figures.common
    return {
        "images": figures.images,
        **single,
        "no_interval": why_no_interval(figures, classes),
        "over_the_others": None
        if common is None
        else {
            "classes": [classes[number] for number in common.classes],
            **{name: finite(getattr(common, name)) for name in _OVER_CLASSES},
            **{f"{name}_interval": ends(getattr(common, f"{name}_interval")) for name in _OVER_CLASSES},
        },
        "boundary_tolerance": tolerance,
    }


def class_numbers(figures: MaskClassFigures) -> dict[str, Any]:
    """Figures of one class, for JSON."""
    return {
        "images": figures.images,
        "too_few_images": not figures.enough,
        "iou": finite(figures.iou),
        "iou_interval": ends(figures.iou_interval),
        **{key: finite(getattr(figures, key)) for key in ("dice", "recall", "precision", "boundary_f")},
    }
