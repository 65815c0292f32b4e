"""Sections that the reports of runs with classes share: a chart by class, confusions, the sets of images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from markupsafe import Markup

from snellen.insight.confusion import Confusion
from snellen.reporting import charts
from snellen.reporting.charts import Entry
from snellen.reporting.runs import AnyView, by_images, class_names

Figures = TypeVar("Figures")
_MOST_CELLS = 60  # classes up to which a confusion matrix can be read
_MOST_ENTRIES = 60  # values that one chart shows


@dataclass(frozen=True)
class ConfusionView(Generic[AnyView]):
    """Confusions of a run, in images or pixels. chart: None for many classes. total: with those that are right.

    pairs: the most frequent, (true, predicted, how many).
    """

    run: AnyView
    chart: Markup | None
    pairs: list[tuple[str, str, int]]
    total: int


@dataclass(frozen=True)
class Dataset(Generic[AnyView]):
    """A set of images and the runs that were trained on it. data: data.json. source: without its folder.

    examples: pictures, as the template has them. rows: (class, training, validation, share of the largest class).
    """

    runs: list[AnyView]
    data: dict[str, Any]
    source: str
    examples: Sequence[Any]
    rows: Sequence[tuple[str, float, float, float]]


@dataclass(frozen=True)
class ClassRow(Generic[Figures]):
    """A class in the table by class. size: in images, or as a share. runs: its figures in each; None without it."""

    name: str
    size: float
    runs: list[Figures | None]


def class_rows(by_run: Sequence[Mapping[str, Figures]], size: Callable[[Figures], float]) -> list[ClassRow[Figures]]:
    """A row for each class of some runs. by_run: the figures of a run by the name of the class."""
    names = dict.fromkeys(name for figures in by_run for name in figures)
    return [
        ClassRow(name, max(size(run[name]) for run in by_run if name in run), [run.get(name) for run in by_run])
        for name in names
    ]


def class_chart(
    runs: Sequence[AnyView], entry: Callable[[AnyView, str], Entry | None], caption: str
) -> tuple[int, Markup] | None:
    """The number of classes in the chart, and a value of each, the lowest first by the mean over the runs.

    entry: the value of a run for a class, by the class's name; None if it has none.
    """
    rows: list[tuple[float, str, list[Entry]]] = []
    for name in class_names(runs):
        entries = [value for run in runs if (value := entry(run, name)) is not None]
        if entries:
            rows.append((sum(value.value for value in entries) / len(entries), name, entries))
    if not rows:
        return None
    most = max(8, _MOST_ENTRIES // len(runs))
    chart_rows = [(name, entries) for _, name, entries in sorted(rows, key=lambda row: row[0])[:most]]
    return len(chart_rows), Markup(charts.forest(chart_rows, f"{caption} of each class with 95% intervals"))


def confusion_view(run: AnyView, confusion: Confusion, shares: bool = False) -> ConfusionView[AnyView]:
    """Which classes are predicted as which, with a matrix if it can be read. shares: as in the matrix."""
    names, chart = run.run.classes, None
    if len(names) <= _MOST_CELLS:
        title = f"Confusion matrix of {run.label}"
        chart = Markup(charts.confusion_matrix(confusion.counts, names, title, shares=shares))
    pairs = [(names[true], names[predicted], count) for true, predicted, count in confusion.pairs]
    return ConfusionView(run, chart, pairs, total=int(confusion.counts.sum()))


def datasets(
    runs: Sequence[AnyView],
    examples: Callable[[AnyView], Sequence[Any]],
    rows: Callable[[AnyView], Sequence[tuple[str, float, float, float]]],
) -> list[Dataset[AnyView]]:
    """Each set of images once, with the runs that were trained on it."""
    return [
        Dataset(
            runs=group,
            data=group[0].run.data,
            source=Path(str(group[0].run.data["source"])).name,
            examples=examples(group[0]),
            rows=rows(group[0]),
        )
        for group in by_images(runs)
    ]
