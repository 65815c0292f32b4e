"""What the page's sections show: charts, tables and pictures made from collected numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from snellen.engine.run_directory import Run
from snellen.insight.classification import ClassFigures
from snellen.report import charts
from snellen.report.charts import Series
from snellen.report.collect import Collected, RunFigures, image_path
from snellen.report.pictures import sprite, thumbnail

_MOST_CELLS = 60  # classes up to which a confusion matrix can be read
_EXAMPLE_CLASSES = 12
_EXAMPLES = 4
_MOST_DISAGREEMENTS = 12


def context(collected: Collected) -> dict[str, Any]:
    """Variables of the template, apart from those that build.py adds."""
    runs = collected.runs
    return {
        "title": " and ".join(run.label for run in runs) if len(runs) < 4 else f"{len(runs)} runs",
        "top1_chart": _top1(runs),
        "difference_chart": _differences(collected),
        "curves": _curves(runs),
        "cost": [_cost(run) for run in runs],
        "class_chart": _classes(runs),
        "class_rows": _class_rows(runs),
        "confusions": [_confusion(run, number) for number, run in enumerate(runs)],
        "reliabilities": [_reliability(run, number) for number, run in enumerate(runs)],
        "mistakes": [_mistakes(run) for run in runs],
        "disagreements": _disagreements(collected),
        "examples": _examples(runs[0].run),
        "counts_rows": _counts(runs[0].run),
        "evolutions": _evolutions(runs),
        "names": runs[0].run.classes,
    }


def _top1(runs: list[RunFigures]) -> Markup | None:
    rows = [
        (run.label, number, run.figures.top1, run.figures.top1_interval)
        for number, run in enumerate(runs)
        if run.figures is not None
    ]
    return Markup(charts.forest(rows, "Top-1 with 95% intervals")) if rows else None


def _differences(collected: Collected) -> Markup | None:
    rows = [(f"{c.a} − {c.b}", 0, c.test.difference, c.test.interval) for c in collected.comparisons]
    return Markup(charts.forest(rows, "Differences of top-1 with 95% intervals", zero=True)) if rows else None


def _curves(runs: list[RunFigures]) -> list[tuple[str, Markup]]:
    """(caption, chart) for accuracy and loss, over epochs and over time."""
    made = []
    for what, percent in (("top1", True), ("loss", False)):
        for column, unit, caption in (("epoch", 1.0, "epoch"), ("seconds", 60.0, "minutes")):
            series = []
            for number, run in enumerate(runs):
                metrics = run.metrics
                if metrics.empty:
                    continue
                x = (metrics[column] / unit).tolist()
                validation, train = (pd.to_numeric(metrics[f"{part}_{what}"]) for part in ("validation", "train"))
                series.append(Series(f"{run.label}, validation", number, x, validation.tolist()))
                series.append(Series(f"{run.label}, training", number, x, train.tolist(), dashed=True))
            name = "top-1" if what == "top1" else "loss"
            chart = charts.line_chart(series, caption, name, percent, f"{name} against {caption}")
            made.append((f"{name} by {caption}", Markup(chart)))
    return made


def _cost(run: RunFigures) -> dict[str, str]:
    status, environment = run.status, run.run.environment
    mode = f"{environment['precision']}{', channels last' if environment['channels_last'] else ''}"
    speed = status["images_per_second"]
    return {
        "label": run.label,
        "time": _duration(status["seconds_training"] + status["seconds_evaluating"]),
        "epochs": f"{status['epochs_done']} of {status['epochs']}",
        "speed": "" if speed is None else f"{speed:,.0f} images/s",
        "memory": f"{status['peak_memory_mib'] / 1024:.1f} GiB",
        "parameters": f"{environment['parameters'] / 1e6:.2f} M",
        "macs": "" if environment["macs"] is None else f"{environment['macs'] / 1e9:.3f} G",
        "mode": f"{mode}{', compiled' if environment['compiled'] else ''}",
        "where": f"{environment['gpu'] or environment['cpu']}, {environment['threads']} threads",
        "weights": environment["weights"]["source"],
        "versions": f"snellen {environment['snellen']}, torch {environment['packages']['torch']}",
    }


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"


def _classes(runs: list[RunFigures]) -> Markup | None:
    scored = [(number, run.figures) for number, run in enumerate(runs) if run.figures is not None]
    if not scored or len(scored[0][1].classes) * len(scored) > 40:
        return None  # the table below has them all
    rows = []
    for index, name in enumerate(runs[0].run.classes):
        for number, figures in scored:
            each = figures.classes[index]
            label = name if number == scored[0][0] else ""
            if each.support:
                rows.append((label, number, each.recall, each.recall_interval))
    return Markup(charts.forest(rows, "Recall of each class with 95% intervals"))


def _class_rows(runs: list[RunFigures]) -> list[tuple[str, int, list[tuple[str, str, str]]]]:
    """(class, images, (recall, precision, F1) for each scored run)."""
    scored = [run.figures for run in runs if run.figures is not None]
    if not scored:
        return []

    def cells(each: ClassFigures) -> tuple[str, str, str]:
        return _share(each.recall), _share(each.precision), _share(each.f1)

    return [
        (name, scored[0].classes[index].support, [cells(figures.classes[index]) for figures in scored])
        for index, name in enumerate(runs[0].run.classes)
    ]


def _share(value: float) -> str:
    return f"{100 * value:.1f}" if math.isfinite(value) else "–"


def _confusion(run: RunFigures, number: int) -> dict[str, Any] | None:
    if run.confusion is None:
        return None
    names = run.run.classes
    chart = None
    if len(names) <= _MOST_CELLS:
        chart = Markup(charts.heatmap(run.confusion.counts, names, f"Confusion matrix of {run.label}"))
    pairs = [(names[true], names[taken], images) for true, taken, images in run.confusion.pairs]
    return {"label": run.label, "number": number, "chart": chart, "pairs": pairs}


def _reliability(run: RunFigures, number: int) -> dict[str, Any] | None:
    if run.calibration is None:
        return None
    chart = charts.reliability(run.calibration.bins, number, f"Reliability of {run.label}")
    return {"label": run.label, "number": number, "chart": Markup(chart), "calibration": run.calibration}


def _mistakes(run: RunFigures) -> dict[str, Any]:
    names = run.run.classes
    shown = []
    for mistake in run.mistakes:
        picture = thumbnail(image_path(run.run, run.samples, mistake.row))
        shown.append(
            {
                "picture": picture,
                "path": run.samples["path"].iloc[mistake.row],
                "own": names[mistake.target],
                "taken": names[mistake.prediction],
                "confidence": mistake.confidence,
            }
        )
    return {"label": run.label, "shown": shown}


def _disagreements(collected: Collected) -> list[dict[str, Any]]:
    """Of two runs: images that only one of them has right, the other surest of being wrong first."""
    if len(collected.runs) != 2 or not collected.comparisons:
        return []
    made = []
    for winner, loser in (collected.runs, collected.runs[::-1]):
        rows = np.flatnonzero(winner.correct & ~loser.correct)
        probabilities = loser.run.validation().probabilities
        order = rows[np.argsort(-probabilities[rows].max(1), kind="stable")]
        names = loser.run.classes
        shown = [
            {
                "picture": thumbnail(image_path(winner.run, winner.samples, int(row))),
                "path": winner.samples["path"].iloc[row],
                "own": winner.samples["class"].iloc[row],
                "taken": names[int(probabilities[row].argmax())],
                "confidence": float(probabilities[row].max()),
            }
            for row in order[:_MOST_DISAGREEMENTS]
        ]
        made.append({"winner": winner.label, "loser": loser.label, "count": len(rows), "shown": shown})
    return made


def _examples(run: Run) -> list[tuple[str, list[str]]]:
    """(class, pictures of its first training images), evenly chosen among many classes."""
    samples = run.samples()
    samples = samples[samples["split"] == "train"]
    names = run.classes
    chosen = sorted({int(i) for i in np.linspace(0, len(names) - 1, min(len(names), _EXAMPLE_CLASSES)).round()})
    rows = []
    for index in chosen:
        paths = samples.loc[samples["target"] == index, "path"].head(_EXAMPLES)
        pictures = [picture for path in paths if (picture := thumbnail(run.image(path), 72)) is not None]
        rows.append((names[index], pictures))
    return rows


def _counts(run: Run) -> list[tuple[str, int, int, float]]:
    """(class, training images, validation images, share of the largest class)."""
    train, validation = run.data["per_class"]["train"], run.data["per_class"]["validation"]
    largest = max(1, *train)
    return [(name, a, b, a / largest) for name, a, b in zip(run.classes, train, validation, strict=True)]


def _evolutions(runs: list[RunFigures]) -> list[dict[str, Any]]:
    """Points and figures for the script; one sheet of thumbnails serves runs that show the same images."""
    made: list[dict[str, Any]] = []
    sheets: dict[tuple[str, ...], int] = {}
    for number, run in enumerate(runs):
        evolution = run.evolution
        if evolution is None:
            continue
        paths = tuple(str(image_path(run.run, run.samples, int(row))) for row in evolution.rows)
        if paths not in sheets:
            sheets[paths] = len(made)
        pictures = {"pca": evolution.pca, "tsne": evolution.tsne}
        points = {name: [each.round(3).tolist() for each in pictures[name]] for name in pictures if pictures[name]}
        made.append(
            {
                "label": run.label,
                "number": number,
                "epochs": evolution.epochs,
                "separability": evolution.separability,
                "images": len(evolution.rows),
                "data": {
                    "points": points,
                    "epochs": evolution.epochs,
                    "labels": evolution.labels.tolist(),
                    "correct": evolution.correct.astype(int).tolist(),
                    "sheet": sheets[paths],
                    "names": [run.samples["path"].iloc[int(row)] for row in evolution.rows],
                },
                "sprite": sprite([image_path(run.run, run.samples, int(row)) for row in evolution.rows])
                if sheets[paths] == len(made)
                else None,
            }
        )
    return made
