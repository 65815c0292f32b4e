"""What the page's sections show: charts, tables and pictures made from collected numbers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from snellen.engine.run_directory import Run
from snellen.insight.classification import ClassFigures
from snellen.insight.sentence import listed
from snellen.reporting import charts
from snellen.reporting.charts import Entry, Series
from snellen.reporting.collect import Collected, RunFigures, class_names, image_path
from snellen.reporting.evolution import evolutions
from snellen.reporting.pictures import thumbnail

_MOST_CELLS = 60  # classes up to which a confusion matrix can be read
_EXAMPLE_CLASSES = 12
_EXAMPLES = 4
_MOST_PICTURES = 16
_MOST_ENTRIES = 60  # recalls that one chart shows


def context(collected: Collected) -> dict[str, Any]:
    """Variables of the template, apart from those that build.py adds."""
    runs, scored = collected.runs, collected.scored
    return {
        "title": listed([run.label for run in runs]) if len(runs) < 4 else f"{len(runs)} runs",
        "top1_chart": _top1(scored),
        "difference_chart": _differences(collected),
        "curves": _pretraining_curves(runs) if collected.pretraining else _curves(runs),
        "cost": [cost(run) for run in runs],
        "class_chart": _classes(scored),
        "class_rows": _class_rows(scored),
        "confusions": [_confusion(run) for run in scored],
        "reliabilities": [_reliability(run) for run in scored if run.calibration is not None],
        "galleries": [_mistakes(run) for run in scored] + _disagreements(collected),
        "datasets": datasets(runs),
        "evolutions": evolutions(runs),
        "names": class_names(runs),
        "grouped": any(run.groups is not None for run in scored),
    }


def _top1(scored: list[RunFigures]) -> Markup | None:
    rows = []
    for run in scored:
        if run.figures is not None:
            entry = Entry(run.colour, run.figures.top1, run.figures.top1_interval, run.label)
            rows.append((run.label, [entry]))
    return Markup(charts.forest(rows, "Top-1 with 95% intervals")) if rows else None


def _differences(collected: Collected) -> Markup | None:
    colours = {run.label: run.colour for run in collected.runs}
    rows = []
    for c in collected.comparisons:
        colour = colours[c.better] if c.better else "none"
        rows.append((f"{c.a} − {c.b}", [Entry(colour, c.test.difference, c.test.interval, c.sentence)]))
    return Markup(charts.forest(rows, "Differences of top-1 with 95% intervals", zero=True)) if rows else None


def _curves(runs: list[RunFigures]) -> list[tuple[str, Markup]]:
    """(caption, chart) for accuracy and loss, over epochs and over time."""
    made = []
    for what, percent in (("top1", True), ("loss", False)):
        for column, unit, caption in (("epoch", 1.0, "epoch"), ("seconds", 60.0, "minutes")):
            series = []
            for run in runs:
                metrics = run.metrics
                if metrics.empty:
                    continue
                x = metrics[column] / unit
                validation, train = (pd.to_numeric(metrics[f"{part}_{what}"]) for part in ("validation", "train"))
                chosen = x[metrics["epoch"] == run.status["chosen_epoch"]].tolist()
                series += [
                    Series(f"{run.label}, training", run.colour, x.tolist(), train.tolist(), dashed=True),
                    Series(
                        f"{run.label}, validation",
                        run.colour,
                        x.tolist(),
                        validation.tolist(),
                        mark=chosen[0] if chosen else None,
                    ),
                ]
            name = "top-1" if what == "top1" else "loss"
            chart = charts.line_chart(series, caption, name, percent, f"{name} against {caption}")
            made.append((f"{name} by {caption}", Markup(chart)))
    return made


_PRETRAINING_CURVES = (
    ("k-NN top-1", True, [("knn_top1", "", False), ("probe_top1", ", linear probe", True)]),
    ("loss", False, [("train_loss", "", False)]),
    ("effective rank", False, [("effective_rank", "", False)]),
    ("deviation", False, [("train_projection_deviation", ", projections", True), ("feature_deviation", "", False)]),
)


def _pretraining_curves(runs: list[RunFigures]) -> list[tuple[str, Markup]]:
    """(caption, chart) for what is looked at while features are learnt, over epochs and over time."""
    made = []
    for name, percent, columns in _PRETRAINING_CURVES:
        for column, unit, caption in (("epoch", 1.0, "epoch"), ("seconds", 60.0, "minutes")):
            series = [
                Series(
                    f"{run.label}{suffix}",
                    run.colour,
                    (run.metrics[column] / unit).tolist(),
                    pd.to_numeric(run.metrics[what]).tolist(),
                    dashed=dashed,
                )
                for run in runs
                if not run.metrics.empty
                for what, suffix, dashed in columns
                if run.metrics[what].notna().any()
            ]
            if series or name == "loss":
                chart = charts.line_chart(series, caption, name, percent, f"{name} against {caption}")
                made.append((f"{name} by {caption}", Markup(chart)))
    return made


def cost(run: RunFigures) -> dict[str, str]:
    """What a run cost, in words for a table."""
    status, environment = run.status, run.run.environment
    speed, macs, trainable = status["images_per_second"], environment["macs"], environment["trainable_parameters"]
    parameters, trained = si(environment["parameters"]), si(trainable)
    return {
        "label": run.label,
        "colour": run.colour,
        "time": duration(status["seconds_training"] + status["seconds_evaluating"]),
        "epochs": f"{status['epochs_done']} of {status['epochs']}",
        "speed": "–" if speed is None else f"{speed:,.0f} images/s",
        "memory": f"{status['peak_memory_mib'] / 1024:.1f} GiB",
        "parameters": parameters if trained == parameters else f"{parameters}, {trained} of them trained",
        "macs": "–" if macs is None else si(macs),
        "mode": str(run.run.mode),
        "where": environment["gpu"] or f"{environment['cpu']}, {environment['threads']} threads",
        "weights": environment["weights"]["source"],
        "versions": f"snellen {environment['snellen']}, torch {environment['packages']['torch']}",
    }


def si(number: float) -> str:
    """Three digits and a unit: 127,106 is '127 k'."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= 0.9995 * size:
            scaled = number / size
            return f"{scaled:.{2 if scaled < 9.995 else 1 if scaled < 99.95 else 0}f}{unit}"
    return f"{number:.0f}"


def duration(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"


def _by_class(run: RunFigures) -> dict[str, ClassFigures]:
    return {} if run.figures is None else dict(zip(run.run.classes, run.figures.classes, strict=True))


def _classes(scored: list[RunFigures]) -> tuple[int, Markup] | None:
    """How many classes are shown, and their recalls, the hardest first by the mean over the runs."""
    figures = [_by_class(run) for run in scored]
    rows: list[tuple[float, str, list[Entry]]] = []
    for name in class_names(scored):
        entries = [
            Entry(
                run.colour, each[name].recall, each[name].recall_interval, f"{run.label}: {each[name].support} images"
            )
            for run, each in zip(scored, figures, strict=True)
            if name in each and each[name].support
        ]
        if entries:
            rows.append((sum(entry.value for entry in entries) / len(entries), name, entries))
    if not rows:
        return None
    most = max(8, _MOST_ENTRIES // len(scored))
    shown = [(name, entries) for _, name, entries in sorted(rows, key=lambda row: row[0])[:most]]
    return len(shown), Markup(charts.forest(shown, "Recall of each class with 95% intervals"))


def _class_rows(scored: list[RunFigures]) -> list[tuple[str, int, list[tuple[str, str, str]]]]:
    """(class, images, (recall, precision, F1) for each scored run)."""
    figures = [_by_class(run) for run in scored]

    def cells(each: ClassFigures | None) -> tuple[str, str, str]:
        return ("–", "–", "–") if each is None else (_share(each.recall), _share(each.precision), _share(each.f1))

    return [
        (name, max(each[name].support for each in figures if name in each), [cells(each.get(name)) for each in figures])
        for name in class_names(scored)
    ]


def _share(value: float) -> str:
    return f"{100 * value:.1f}" if math.isfinite(value) else "–"


def _confusion(run: RunFigures) -> dict[str, Any]:
    assert run.confusion is not None
    names = run.run.classes
    chart = None
    if len(names) <= _MOST_CELLS:
        chart = Markup(charts.confusion_matrix(run.confusion.counts, names, f"Confusion matrix of {run.label}"))
    pairs = [(names[true], names[taken], images) for true, taken, images in run.confusion.pairs]
    return {"run": run, "chart": chart, "pairs": pairs}


def _reliability(run: RunFigures) -> dict[str, Any]:
    assert run.calibration is not None
    chart = charts.reliability(run.calibration.bins, run.colour, f"Reliability of {run.label}")
    return {"run": run, "chart": Markup(chart), "calibration": run.calibration}


def _mistakes(run: RunFigures) -> dict[str, Any]:
    shown = [_picture(run, m.row, m.prediction, m.confidence, m.own) for m in run.mistakes[:_MOST_PICTURES]]
    wrong = int((~run.correct).sum())
    return {"name": run.label, "colour": run.colour, "count": wrong, "what": "mistakes", "shown": shown}


def _disagreements(collected: Collected) -> list[dict[str, Any]]:
    """Of two runs: images that only one of them has right, the other surest of being wrong first."""
    if len(collected.scored) != 2 or not collected.comparisons:
        return []
    made = []
    for winner, loser in (collected.scored, collected.scored[::-1]):
        probabilities = loser.run.validation().probabilities
        rows = np.flatnonzero(winner.correct & ~loser.correct)
        order = rows[np.argsort(-probabilities[rows].max(1), kind="stable")][:_MOST_PICTURES]
        taken = probabilities.argmax(1)
        targets = loser.samples["target"].to_numpy()
        shown = [
            _picture(
                loser,
                int(row),
                int(taken[row]),
                float(probabilities[row].max()),
                float(probabilities[row, targets[row]]),
            )
            for row in order
        ]
        name = f"only {winner.label} is right"
        made.append({"name": name, "colour": winner.colour, "count": len(rows), "what": "images", "shown": shown})
    return made


def _picture(run: RunFigures, row: int, prediction: int, confidence: float, own: float) -> dict[str, Any]:
    return {
        "picture": thumbnail(image_path(run.run, run.samples, row)),
        "path": run.samples["path"].iloc[row],
        "own": run.samples["class"].iloc[row],
        "taken": run.run.classes[prediction],
        "confidence": confidence,
        "own_share": own,
    }


def datasets(runs: list[RunFigures]) -> list[dict[str, Any]]:
    """Each set of images once, with the runs that were trained on it."""
    made: dict[str, dict[str, Any]] = {}
    for run in runs:
        data = run.run.data
        if data["fingerprint"] in made:
            made[data["fingerprint"]]["runs"].append(run)
            continue
        source = str(data["source"])
        made[data["fingerprint"]] = {
            "runs": [run],
            "data": data,
            "source": source if source.startswith("torchvision:") else Path(source).name,
            "examples": _examples(run.run),
            "rows": _counts(run.run),
        }
    return list(made.values())


def _examples(run: Run) -> list[tuple[str, list[str]]]:
    """(class, pictures of its first training images), evenly chosen among many classes."""
    samples = run.samples()
    samples = samples[samples["split"] == "train"]
    names = run.classes
    if run.recipe.task == "pretraining":
        some = samples["path"].sample(min(len(samples), _EXAMPLES * _EXAMPLE_CLASSES), random_state=0)
        shown = [picture for path in some if (picture := thumbnail(run.image(path), 72)) is not None]
        return [("", shown[start : start + _EXAMPLES]) for start in range(0, len(shown), _EXAMPLES)]
    chosen = sorted({int(i) for i in np.linspace(0, len(names) - 1, min(len(names), _EXAMPLE_CLASSES)).round()})
    rows = []
    for index in chosen:
        paths = samples.loc[samples["target"] == index, "path"].head(_EXAMPLES)
        pictures = [picture for path in paths if (picture := thumbnail(run.image(path), 72)) is not None]
        if pictures:
            rows.append((names[index], pictures))
    return rows


def _counts(run: Run) -> list[tuple[str, int, int, float]]:
    """(class, training images, validation images, share of the largest class); nothing where there are no labels."""
    if "per_class" not in run.data:
        return []
    train, validation = run.data["per_class"]["train"], run.data["per_class"]["validation"]
    largest = max(1, *train)
    return [(name, a, b, a / largest) for name, a, b in zip(run.classes, train, validation, strict=True)]
