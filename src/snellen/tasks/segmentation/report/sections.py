"""The content of the page's sections for segmentation: charts, tables and pictures from collected numbers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from markupsafe import Markup

from snellen.insight.proportions import percents
from snellen.insight.segmentation import MaskClassFigures
from snellen.insight.support import FEWEST_IMAGES
from snellen.reporting import charts
from snellen.reporting.charts import Entry
from snellen.reporting.runs import class_names, listed
from snellen.reporting.shared import Curve, cost, curves, difference_chart, share
from snellen.run.directory import RunDirectory
from snellen.tasks.segmentation.report.collect import CollectedMasks, MaskRun
from snellen.tasks.segmentation.report.evolution import evolutions
from snellen.tasks.segmentation.report.masks import TrueMasks, overlaid

_MOST_CELLS = 60  # classes up to which a confusion matrix can be read
_MOST_ENTRIES = 60  # values that one chart shows
_EXAMPLES = 8
_EXAMPLE_SIDE = 200  # px
_CURVES = (
    ("mIoU", True, [Curve("validation_miou", ", validation", mark=True)]),
    (
        "pixel accuracy",
        True,
        [
            Curve("train_pixel_accuracy", ", training", dashed=True),
            Curve("validation_pixel_accuracy", ", validation", mark=True),
        ],
    ),
    (
        "loss",
        False,
        [Curve("train_loss", ", training", dashed=True), Curve("validation_loss", ", validation", mark=True)],
    ),
)


def context(collected: CollectedMasks) -> dict[str, Any]:
    """Variables of the template, besides those of every page."""
    runs, scored = collected.runs, collected.scored
    return {
        "title": listed([run.label for run in runs]) if len(runs) < 4 else f"{len(runs)} runs",
        "measure_chart": _miou(scored, collected),
        "difference_chart": difference_chart(runs, collected.comparisons, collected.measure),
        "curves": curves(runs, _CURVES),
        "cost": [cost(run) for run in runs],
        "names": class_names(runs),
        "colours": class_colours(runs),
        "class_chart": _classes(scored),
        "class_rows": _class_rows(scored),
        "confusions": [_confusion(run) for run in scored],
        "evolutions": evolutions(collected),
        "datasets": datasets(runs),
        "fewest_images": FEWEST_IMAGES,
        "grouped": any(run.groups is not None for run in scored),
    }


def _miou(scored: list[MaskRun], collected: CollectedMasks) -> Markup | None:
    """Over the classes that are compared, or over all of each run's where the images are not the same."""
    rows = []
    for run in scored:
        assert run.figures is not None
        value, interval = run.compared if collected.same_images else (run.figures.miou, run.figures.miou_interval)
        rows.append((run.label, [Entry(run.colour, value, interval, run.label)]))
    return Markup(charts.forest(rows, f"{collected.measure} with 95% intervals")) if rows else None


def class_colours(runs: list[MaskRun]) -> dict[str, str]:
    """Each class's colour, as the style sheet writes it."""
    return {
        name: f"rgb({red} {green} {blue})"
        for run in runs
        for name, (red, green, blue) in zip(run.classes.names, run.classes.colours, strict=True)
    }


def _by_class(run: MaskRun) -> dict[str, MaskClassFigures]:
    return {} if run.figures is None else dict(zip(run.run.classes, run.figures.classes, strict=True))


def _classes(scored: list[MaskRun]) -> tuple[int, Markup] | None:
    """How many classes are shown, and their IoU, the hardest first by the mean over the runs."""
    figures = [_by_class(run) for run in scored]
    rows: list[tuple[float, str, list[Entry]]] = []
    for name in class_names(scored):
        entries = [
            Entry(
                run.colour,
                of_run[name].iou,
                of_run[name].iou_interval,
                f"{run.label}: {of_run[name].share:.2%} of pixels",
            )
            for run, of_run in zip(scored, figures, strict=True)
            if name in of_run and math.isfinite(of_run[name].iou)
        ]
        if entries:
            rows.append((sum(entry.value for entry in entries) / len(entries), name, entries))
    if not rows:
        return None
    most = max(8, _MOST_ENTRIES // len(scored))
    chart_rows = [(name, entries) for _, name, entries in sorted(rows, key=lambda row: row[0])[:most]]
    return len(chart_rows), Markup(charts.forest(chart_rows, "IoU of each class with 95% intervals"))


def _class_rows(scored: list[MaskRun]) -> list[dict[str, Any]]:
    """For each class: name, share of the scored pixels, and for each run a list of cells."""
    by_run = [_by_class(run) for run in scored]

    def cells(figures: MaskClassFigures | None) -> dict[str, str]:
        names = ("iou", "dice", "recall", "precision", "boundary_f")
        texts = {key: "–" if figures is None else share(getattr(figures, key)) for key in names}
        if figures is None or not math.isfinite(figures.iou):
            return texts | {"interval": ""}
        if figures.iou_interval is None:
            return texts | {"interval": "no interval" if figures.enough else "too few images"}
        return texts | {"interval": percents(figures.iou_interval)}

    return [
        {
            "name": name,
            "share": max(run[name].share for run in by_run if name in run),
            "runs": [cells(run.get(name)) for run in by_run],
        }
        for name in class_names(scored)
    ]


def _confusion(run: MaskRun) -> dict[str, Any]:
    assert run.confusion is not None
    names, counts = run.run.classes, run.confusion.counts
    chart = None
    if len(names) <= _MOST_CELLS:
        chart = Markup(charts.confusion_matrix(counts, names, f"Confusion matrix of {run.label}", shares=True))
    total = max(1, int(counts.sum()))
    pairs = [(names[true], names[predicted], pixels / total) for true, predicted, pixels in run.confusion.pairs]
    return {"run": run, "chart": chart, "pairs": pairs}


def datasets(runs: list[MaskRun]) -> list[dict[str, Any]]:
    """Each set of images once, with the runs that were trained on it."""
    by_fingerprint: dict[str, dict[str, Any]] = {}
    for run in runs:
        data = run.run.data
        if data["fingerprint"] in by_fingerprint:
            by_fingerprint[data["fingerprint"]]["runs"].append(run)
            continue
        by_fingerprint[data["fingerprint"]] = {
            "runs": [run],
            "data": data,
            "source": Path(str(data["source"])).name,
            "examples": _examples(run),
            "rows": _shares(run.run),
        }
    return list(by_fingerprint.values())


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


def _shares(run: RunDirectory) -> list[tuple[str, float, float, float]]:
    """(class, share of the scored training pixels, of the validation pixels, of the largest class's)."""
    sides = [run.data["per_class_pixels"][side] for side in ("train", "validation")]
    train, validation = ([pixels / max(1, sum(side)) for pixels in side] for side in sides)
    largest = max([*train, 1e-9])
    return [(name, a, b, a / largest) for name, a, b in zip(run.classes, train, validation, strict=True)]
