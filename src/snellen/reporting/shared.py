"""Sections that the reports of all kinds of runs share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic

import pandas as pd
from markupsafe import Markup

from snellen.engine.display import per_second
from snellen.engine.mode import Mode
from snellen.insight.sentence import listed
from snellen.reporting import charts
from snellen.reporting.charts import Entry, Series
from snellen.reporting.collected import Collected
from snellen.reporting.runs import AnyView, RunView, class_names
from snellen.run.environment import InitialWeights
from snellen.words import counted, duration, si, time_axis


@dataclass(frozen=True)
class Curve:
    """A line over epochs, per run. column: of epochs.csv. suffix: after the run's label. mark: the chosen epoch."""

    column: str
    suffix: str
    dashed: bool = False
    mark: bool = False


CurveSpec = tuple[str, bool, Sequence[Curve]]
"""A chart: its name, whether its values are shares, its lines."""


def in_both_parts(name: str, column: str, percent: bool = False) -> CurveSpec:
    """A chart of a figure in training and in validation. column: of epochs.csv, without the part."""
    training = Curve(f"train_{column}", ", training", dashed=True)
    return name, percent, [training, Curve(f"validation_{column}", ", validation", mark=True)]


@dataclass(frozen=True)
class Cost:
    """The cost of a run, in words: a column of the page's table. colour: the run's colour class."""

    label: str
    colour: str
    time: str
    epochs: str
    speed: str
    memory: str
    parameters: str
    macs: str
    mode: str
    where: str
    weights: str
    versions: str


@dataclass(frozen=True)
class Picture:
    """An image with its class and what was predicted. picture: a data URL, None if the file is gone.

    confidence, target_confidence: probabilities of the predicted and of the true class, None for a mean over seeds.
    """

    picture: str | None
    path: str
    truth: str
    predicted: str
    confidence: float | None = None
    target_confidence: float | None = None


@dataclass(frozen=True)
class Gallery:
    """Pictures of the first of `count` images. what: their kind, such as "mistakes"."""

    name: str
    colour: str
    count: int
    pictures: list[Picture]
    what: str = "images"


@dataclass(frozen=True)
class CommonSections(Generic[AnyView]):
    """What the templates of all kinds of runs use: the result's charts, learning curves as (caption, chart), costs.

    names: of the classes. grouped: whether images come in groups.
    """

    collected: Collected[AnyView]
    title: str
    measure_chart: Markup | None
    difference_chart: Markup | None
    curves: list[tuple[str, Markup]]
    cost: list[Cost]
    names: list[str]
    grouped: bool


def common_sections(collected: Collected[AnyView], specs: Sequence[CurveSpec]) -> CommonSections[AnyView]:
    """The sections of a page that every kind of run has. specs: the learning curves."""
    runs = collected.runs
    return CommonSections(
        collected=collected,
        title=listed([run.label for run in runs]) if len(runs) < 4 else f"{len(runs)} runs",
        measure_chart=_measure_chart(collected),
        difference_chart=_difference_chart(collected),
        curves=curves(runs, specs),
        cost=[cost(run) for run in runs],
        names=class_names(runs),
        grouped=any(run.groups is not None for run in collected.scored),
    )


def _measure_chart(collected: Collected[AnyView]) -> Markup | None:
    """What runs on the same images are compared by, or else each run's headline figure; None before any score."""
    rows = []
    for run in collected.scored:
        assert run.headline_figure is not None
        value, interval = run.compared if collected.same_images else run.headline_figure[1:]
        rows.append((run.label, [Entry(run.colour, value, interval, run.label)]))
    return Markup(charts.forest(rows, f"{collected.measure} with 95% intervals")) if rows else None


def curves(runs: Sequence[RunView], specs: Sequence[CurveSpec]) -> list[tuple[str, Markup]]:
    """(caption, chart) over epochs and over time for each (name, whether it is a share, lines).

    Columns without a value and charts without a line are left out, except the chart of the loss.
    """
    drawn = []
    time = time_axis(max((run.metrics["seconds"].max() for run in runs if not run.metrics.empty), default=0.0))
    for name, percent, lines in specs:
        for column, unit, caption in (("epoch", 1.0, "epoch"), ("seconds", *time)):
            series = [
                _series(run, line, (run.metrics[column] / unit).tolist())
                for run in runs
                if not run.metrics.empty
                for line in lines
                if run.metrics[line.column].notna().any()
            ]
            if series or name == "loss":
                chart = charts.line_chart(series, caption, name, percent, f"{name} against {caption}")
                drawn.append((f"{name} by {caption}", Markup(chart)))
    return drawn


def _series(run: RunView, line: Curve, x: list[float]) -> Series:
    values = pd.to_numeric(run.metrics[line.column]).tolist()
    chosen = [
        position for position, epoch in zip(x, run.metrics["epoch"], strict=True) if epoch == run.status.chosen_epoch
    ]
    mark = chosen[0] if line.mark and chosen else None
    return Series(f"{run.label}{line.suffix}", run.colour, x, values, dashed=line.dashed, mark=mark)


def _difference_chart(collected: Collected[AnyView]) -> Markup | None:
    """A forest plot of the differences, in grey if two runs cannot be told apart; None without comparisons."""
    colours = {run.label: run.colour for run in collected.runs}
    rows = []
    for c in collected.comparisons:
        colour = colours[c.better] if c.better else "none"
        rows.append((f"{c.a} − {c.b}", [Entry(colour, c.test.difference, c.test.interval, c.sentence)]))
    title = f"Differences of {collected.measure} with 95% intervals"
    return Markup(charts.forest(rows, title, zero=True)) if rows else None


def cost(run: RunView) -> Cost:
    """The cost of a run, in words."""
    status, environment = run.status, run.run.environment
    speed, macs = status.images_per_second, environment.macs
    parameters, trained = si(environment.parameters), si(environment.trainable_parameters)
    return Cost(
        label=run.label,
        colour=run.colour,
        time=duration(status.seconds),
        epochs=f"{status.epochs_done} of {status.epochs}",
        speed="–" if speed is None else f"{per_second(speed)} images/s",
        memory=f"{status.peak_memory_mib / 1024:.1f} GiB",
        parameters=parameters if trained == parameters else f"{parameters}, {trained} of them trained",
        macs="–" if macs is None else si(macs),
        mode=str(Mode.recorded(environment)),
        where=environment.gpu or f"{environment.cpu}, {counted(environment.threads, 'thread')}",
        weights=_started_from(environment.weights),
        versions=f"snellen {environment.snellen}, torch {environment.packages['torch']}",
    )


def _started_from(weights: InitialWeights) -> str:
    """The source of a network's weights, and how many of its layers nevertheless started from scratch."""
    source, anew = weights.source, len(weights.missing) + len(weights.mismatched)
    return f"{source}; {anew} of {anew + weights.loaded} tensors from scratch" if anew else source
