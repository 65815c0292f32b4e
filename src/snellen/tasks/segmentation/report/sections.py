"""The content of the page's sections for segmentation: charts, tables and pictures from collected numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from markupsafe import Markup

from snellen.insight.proportions import percents
from snellen.insight.segmentation import MaskClassFigures
from snellen.insight.support import FEWEST_IMAGES
from snellen.reporting.by_class import (
    ClassRow,
    ConfusionView,
    Dataset,
    class_chart,
    class_rows,
    confusion_view,
    datasets,
)
from snellen.reporting.charts import Entry
from snellen.reporting.shared import Curve, in_both_parts
from snellen.tasks.segmentation.report.collect import CollectedMasks, MaskRun
from snellen.tasks.segmentation.report.evolution import MaskEvolution, evolutions
from snellen.tasks.segmentation.report.masks import TrueMasks, overlaid

_EXAMPLES = 8
_EXAMPLE_SIDE = 200  # px
CURVES = (
    ("mIoU", True, [Curve("validation_miou", ", validation", mark=True)]),
    in_both_parts("pixel accuracy", "pixel_accuracy", percent=True),
    in_both_parts("loss", "loss"),
)


@dataclass(frozen=True)
class MaskSections:
    """What segmentation.html.j2 uses in addition to what all pages have.

    colours: of each class, as the style sheet writes it. class_chart: (number of classes, chart of IoU).
    interval_of_class: of its IoU, or why there is none. fewest_images: for an interval.
    """

    colours: dict[str, str]
    class_chart: tuple[int, Markup] | None
    class_rows: list[ClassRow[MaskClassFigures]]
    interval_of_class: Callable[[MaskClassFigures], str]
    confusions: list[ConfusionView[MaskRun]]
    evolutions: list[MaskEvolution]
    datasets: list[Dataset[MaskRun]]
    fewest_images: int


def sections(collected: CollectedMasks) -> MaskSections:
    """What the template may use in addition to what all pages have."""
    runs, scored = collected.runs, collected.scored
    return MaskSections(
        colours=class_colours(runs),
        class_chart=class_chart(scored, _iou, "IoU"),
        class_rows=class_rows([run.by_class for run in scored], lambda figures: figures.share),
        interval_of_class=_interval_of_class,
        confusions=[confusion_view(run, run.confusion, shares=True) for run in scored if run.confusion is not None],
        evolutions=evolutions(collected),
        datasets=mask_datasets(runs),
        fewest_images=FEWEST_IMAGES,
    )


def class_colours(runs: list[MaskRun]) -> dict[str, str]:
    """Each class's colour, as the style sheet writes it."""
    return {
        name: f"rgb({red} {green} {blue})"
        for run in runs
        for name, (red, green, blue) in zip(run.classes.names, run.classes.colours, strict=True)
    }


def _iou(run: MaskRun, name: str) -> Entry | None:
    figures = run.by_class.get(name)
    if figures is None or not math.isfinite(figures.iou):
        return None
    return Entry(run.colour, figures.iou, figures.iou_interval, f"{run.label}: {figures.share:.2%} of pixels")


def _interval_of_class(figures: MaskClassFigures) -> str:
    if not math.isfinite(figures.iou):
        return ""
    if figures.iou_interval is None:
        return "no interval" if figures.enough else "too few images"
    return percents(figures.iou_interval)


def mask_datasets(runs: list[MaskRun]) -> list[Dataset[MaskRun]]:
    """Each set of images once, with pictures under their masks, and the classes' shares of pixels."""
    return datasets(runs, _examples, _shares)


def _examples(run: MaskRun) -> list[str]:
    """Training images, evenly chosen, under their masks."""
    paths, truths = run.run.part("train")["path"], TrueMasks(run.run)
    pictures = []
    for path in paths.iloc[:: max(1, -(-len(paths) // _EXAMPLES))]:
        mask = truths.of(path)
        if mask is None:
            continue
        picture = overlaid(run.run.image(path), mask, run.classes.colours, _EXAMPLE_SIDE, run.bits("train"))
        if picture is not None:
            pictures.append(picture)
    return pictures


def _shares(view: MaskRun) -> list[tuple[str, float, float, float]]:
    """(class, share of the scored training pixels, of the validation pixels, of the largest class's)."""
    run = view.run
    sides = [run.data["per_class_pixels"][side] for side in ("train", "validation")]
    train, validation = ([pixels / max(1, sum(side)) for pixels in side] for side in sides)
    largest = max([*train, 1e-9])
    return [(name, a, b, a / largest) for name, a, b in zip(run.classes, train, validation, strict=True)]
