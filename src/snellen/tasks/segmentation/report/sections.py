"""The content of the page's sections for segmentation: charts, tables and pictures from collected numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from snellen.insight.proportions import percents
from snellen.insight.segmentation import MaskClassFigures
from snellen.insight.support import FEWEST_IMAGES
from snellen.reporting import charts
from snellen.reporting.charts import Entry
from snellen.reporting.runs import by_images, class_names
from snellen.reporting.shared import CommonSections, Curve, cost, curves, difference_chart, share, title_of
from snellen.run.directory import RunDirectory
from snellen.tasks.segmentation.report.collect import CollectedMasks, MaskRun
from snellen.tasks.segmentation.report.evolution import MaskEvolution, evolutions
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


@dataclass(frozen=True)
class MaskCells:
    """The figures of a class in one run, in points. interval: of the IoU, or why there is none."""

    iou: str
    dice: str
    recall: str
    precision: str
    boundary_f: str
    interval: str


@dataclass(frozen=True)
class ClassRow:
    """A class in the table by class. share: of the scored pixels. runs: its figures in each scored run."""

    name: str
    share: float
    runs: list[MaskCells]


@dataclass(frozen=True)
class ConfusionView:
    """Confusions of a run. chart: None for many classes. pairs: most frequent, (true, predicted, share of pixels)."""

    run: MaskRun
    chart: Markup | None
    pairs: list[tuple[str, str, float]]


@dataclass(frozen=True)
class Dataset:
    """A set of images and the runs that were trained on it. data: data.json. source: without its folder.

    examples: data URLs. rows: (class, share of the scored training pixels, of the validation pixels, of the largest
    class's).
    """

    runs: list[MaskRun]
    data: dict[str, Any]
    source: str
    examples: list[str]
    rows: list[tuple[str, float, float, float]]


@dataclass(frozen=True)
class MaskSections(CommonSections):
    """The variables of segmentation.html.j2.

    names: of the classes. colours: of each, as the style sheet writes it. class_chart: (number of classes, chart of
    IoU). fewest_images: for an interval. grouped: whether images come in groups.
    """

    collected: CollectedMasks
    names: list[str]
    colours: dict[str, str]
    class_chart: tuple[int, Markup] | None
    class_rows: list[ClassRow]
    confusions: list[ConfusionView]
    evolutions: list[MaskEvolution]
    datasets: list[Dataset]
    fewest_images: int
    grouped: bool


def context(collected: CollectedMasks) -> MaskSections:
    """The variables of the template."""
    runs, scored = collected.runs, collected.scored
    return MaskSections(
        title=title_of(runs),
        measure_chart=_miou(scored, collected),
        difference_chart=difference_chart(runs, collected.comparisons, collected.measure),
        curves=curves(runs, _CURVES),
        cost=[cost(run) for run in runs],
        collected=collected,
        names=class_names(runs),
        colours=class_colours(runs),
        class_chart=_classes(scored),
        class_rows=_class_rows(scored),
        confusions=[_confusion(run) for run in scored],
        evolutions=evolutions(collected),
        datasets=datasets(runs),
        fewest_images=FEWEST_IMAGES,
        grouped=any(run.groups is not None for run in scored),
    )


def _miou(scored: list[MaskRun], collected: CollectedMasks) -> Markup | None:
    """The mIoU over the classes that are compared, or over all classes of each run if the images differ."""
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
    """The number of classes in the chart, and their IoU, the hardest first by the mean over the runs."""
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


def _class_rows(scored: list[MaskRun]) -> list[ClassRow]:
    """For each class: name, share of the scored pixels, and for each run a list of cells."""
    by_run = [_by_class(run) for run in scored]

    def cells(figures: MaskClassFigures | None) -> MaskCells:
        if figures is None:
            return MaskCells("–", "–", "–", "–", "–", interval="")
        return MaskCells(
            iou=share(figures.iou),
            dice=share(figures.dice),
            recall=share(figures.recall),
            precision=share(figures.precision),
            boundary_f=share(figures.boundary_f),
            interval=_interval_of_class(figures),
        )

    return [
        ClassRow(
            name=name,
            share=max(run[name].share for run in by_run if name in run),
            runs=[cells(run.get(name)) for run in by_run],
        )
        for name in class_names(scored)
    ]


def _interval_of_class(figures: MaskClassFigures) -> str:
    if not math.isfinite(figures.iou):
        return ""
    if figures.iou_interval is None:
        return "no interval" if figures.enough else "too few images"
    return percents(figures.iou_interval)


def _confusion(run: MaskRun) -> ConfusionView:
    assert run.confusion is not None
    names, counts = run.run.classes, run.confusion.counts
    chart = None
    if len(names) <= _MOST_CELLS:
        chart = Markup(charts.confusion_matrix(counts, names, f"Confusion matrix of {run.label}", shares=True))
    total = max(1, int(counts.sum()))
    pairs = [(names[true], names[predicted], pixels / total) for true, predicted, pixels in run.confusion.pairs]
    return ConfusionView(run, chart, pairs)


def datasets(runs: list[MaskRun]) -> list[Dataset]:
    """Each set of images once, with the runs that were trained on it."""
    return [_dataset(group) for group in by_images(runs)]


def _dataset(runs: list[MaskRun]) -> Dataset:
    first, data = runs[0], runs[0].run.data
    return Dataset(
        runs=runs,
        data=data,
        source=Path(str(data["source"])).name,
        examples=_examples(first),
        rows=_shares(first.run),
    )


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
