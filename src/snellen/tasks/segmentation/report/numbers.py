"""The numbers of a report of segmenters, for JSON and CSV."""

from __future__ import annotations

from typing import Any

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
    single: dict[str, Any] = {}
    for name in _WITH_INTERVALS:
        single[name] = finite(getattr(figures, name))
        interval = ends(getattr(figures, f"{name}_interval"))
        single[f"{name}_interval"] = None if single[name] is None else interval
    common = figures.common
    return {
        **shared,
        "images": figures.images,
        **single,
        "no_interval": run.why_no_interval,
        "over_the_others": None
        if common is None
        else {
            "classes": [run.run.classes[number] for number in common.classes],
            **{name: finite(getattr(common, name)) for name in _OVER_CLASSES},
            **{f"{name}_interval": ends(getattr(common, f"{name}_interval")) for name in _OVER_CLASSES},
        },
        "boundary_tolerance": run.tolerance,
        "kept_miou": None if run.kept_score is None else finite(run.kept_score),
        "confusion": run.confusion.counts.tolist(),
        "classes": [
            {
                "class": name,
                "colour": colour,
                "share_of_pixels": finite(of_class.share),
                "images": of_class.images,
                "too_few_images": not of_class.enough,
                "iou": finite(of_class.iou),
                "iou_interval": ends(of_class.iou_interval),
                **{key: finite(getattr(of_class, key)) for key in ("dice", "recall", "precision", "boundary_f")},
            }
            for name, colour, of_class in zip(run.run.classes, run.run.data["colours"], figures.classes, strict=True)
        ],
        "per_image": [
            {"path": path, "miou": finite(float(value))}
            for path, value in zip(run.samples["path"], run.miou_by_image, strict=True)
        ],
    }
