"""One self-contained HTML file from runs, and the same numbers as JSON and CSV beside it."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from snellen.engine.run_directory import Run
from snellen.errors import UserError
from snellen.files import write_json, write_text
from snellen.insight.calibration import Calibration
from snellen.insight.proportions import Interval
from snellen.pretraining.evaluation import COLUMNS
from snellen.reporting.collect import Collected, RunFigures, collect
from snellen.reporting.sections import context
from snellen.reporting.template import render

if TYPE_CHECKING:
    import pandas as pd


def build_report(runs: Sequence[Run], out: Path) -> Path:
    """Writes the report of one run, or of several side by side, and returns its path.

    Beside `out` lie the same numbers: .json with all of them, .csv with one row a run.
    Raises UserError when there is no run, when a file of a run is gone, or when `out` is no .html file.
    """
    if not runs:
        raise UserError("a report needs at least one run directory.")
    if out.suffix.lower() not in {".html", ".htm"}:
        raise UserError(f"{out}: a report is an HTML file. Choose a name such as {out.with_suffix('.html').name}.")
    collected = collect(runs)
    write_text(out, _page(collected))
    write_json(out.with_suffix(".json"), _numbers(collected))
    table = io.StringIO()
    _table(collected).to_csv(table, index=False)
    write_text(out.with_suffix(".csv"), table.getvalue())
    return out


def _page(collected: Collected) -> str:
    return render(
        "report.html.j2",
        collected=collected,
        recipe_text=lambda run: yaml.safe_dump(run.recipe, sort_keys=False, allow_unicode=True),
        **context(collected),
    )


def _numbers(collected: Collected) -> dict[str, Any]:
    return {
        "headline": collected.headline,
        "runs": [_run_numbers(run) for run in collected.runs],
        "comparisons": [
            {
                "a": c.a,
                "b": c.b,
                "difference": c.test.difference,
                "interval": ends(c.test.interval),
                "p_value": c.test.p_value,
                "p_holm": c.p_holm,
                "only_a": c.test.only_a,
                "only_b": c.test.only_b,
                "images": c.test.total,
                "method": c.test.method,
                "sentence": c.sentence,
            }
            for c in collected.comparisons
        ],
        "differing": [{"field": row.key, "values": list(row.values)} for row in collected.differing],
    }


def _run_numbers(run: RunFigures) -> dict[str, Any]:
    numbers: dict[str, Any] = {
        "label": run.label,
        "path": str(run.run.path.resolve()),
        "status": run.status,
        "choice": run.choice,
        "parameters": run.run.environment["parameters"],
        "macs": run.run.environment["macs"],
    }
    figures = run.figures
    if run.pretraining:
        numbers["pretraining"] = {
            name: _last(run.metrics, name) for name in (*COLUMNS, "train_loss", "train_projection_deviation")
        }
    if figures is None or run.confusion is None:
        return numbers
    numbers |= {
        "images": figures.images,
        "correct": figures.correct,
        "top1": figures.top1,
        "top1_interval": ends(figures.top1_interval),
        "top5": figures.top5,
        "top5_interval": ends(figures.top5_interval),
        "balanced_accuracy": figures.balanced,
        "balanced_accuracy_interval": ends(figures.balanced_interval),
        "macro_f1": figures.macro_f1,
        "macro_f1_interval": ends(figures.macro_f1_interval),
        **({} if run.calibration is None else _calibration_numbers(run.calibration)),
        "optimism": None if run.optimism is None else run.optimism.value,
        "confusion": run.confusion.counts.tolist(),
        "classes": [
            {
                "class": name,
                "images": each.support,
                "recall": _finite(each.recall),
                "recall_interval": ends(each.recall_interval),
                "precision": _finite(each.precision),
                "f1": _finite(each.f1),
            }
            for name, each in zip(run.run.classes, figures.classes, strict=True)
        ],
    }
    if run.evolution is not None:
        numbers["separability"] = [
            {
                "epoch": epoch,
                "knn": _finite(each.knn),
                "silhouette": _finite(each.silhouette),
                "effective_rank": each.effective_rank,
            }
            for epoch, each in zip(run.evolution.epochs, run.evolution.separability, strict=True)
        ]
    return numbers


def _calibration_numbers(calibration: Calibration) -> dict[str, Any]:
    return {
        "ece": calibration.ece,
        "ece_interval": ends(calibration.ece_interval),
        "reliability": [
            {
                "low": b.low,
                "high": b.high,
                "images": b.images,
                "confidence": b.confidence,
                "accuracy": b.accuracy,
                "accuracy_interval": ends(b.accuracy_interval),
            }
            for b in calibration.bins
        ],
        "brier": calibration.brier,
        "negative_log_likelihood": calibration.negative_log_likelihood,
    }


def _last(metrics: pd.DataFrame, name: str) -> float | None:
    """The last value of a column that is there; a look need not have every figure."""
    import pandas as pd

    if name not in metrics:
        return None
    values = pd.to_numeric(metrics[name]).dropna().tolist()
    return float(values[-1]) if values else None


def _table(collected: Collected) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for run in collected.runs:
        numbers = _run_numbers(run)
        flat = {key: value for key, value in numbers.items() if not isinstance(value, dict | list)}
        for key in ("top1", "top5", "balanced_accuracy", "macro_f1", "ece"):
            if numbers.get(f"{key}_interval"):
                flat[f"{key}_low"], flat[f"{key}_high"] = numbers[f"{key}_interval"]
        status = {key: run.status[key] for key in ("state", "epochs_done", "seconds_training", "images_per_second")}
        rows.append(flat | status)
    return pd.DataFrame(rows)


def ends(interval: Interval | None) -> list[float] | None:
    """[low, high] for JSON."""
    return None if interval is None else [interval.low, interval.high]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
