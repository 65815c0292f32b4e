"""The numbers of a report, for JSON and CSV."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from snellen.insight.calibration import Calibration
from snellen.insight.classification import Figures
from snellen.reporting.collected import Collected
from snellen.reporting.runs import ends, finite, run_numbers, table_row
from snellen.tasks.classification.report.collect import RunFigures


def numbers(collected: Collected[RunFigures]) -> dict[str, Any]:
    """All of them."""
    return collected.numbers(_run_numbers, of_test=("only_a", "only_b"))


def _run_numbers(run: RunFigures) -> dict[str, Any]:
    numbers = run_numbers(run)
    figures = run.figures
    numbers |= run.more_numbers
    if figures is None or run.confusion is None:
        return numbers
    numbers |= {
        **figure_numbers(figures),
        **({} if run.calibration is None else _reliability(run.calibration)),
        "kept_top1": run.kept_score,
        "confusion": run.confusion.counts.tolist(),
        "classes": [
            {
                "class": name,
                "images": of_class.support,
                "recall": finite(of_class.recall),
                "recall_interval": ends(of_class.recall_interval),
                "precision": finite(of_class.precision),
                "f1": finite(of_class.f1),
            }
            for name, of_class in zip(run.run.classes, figures.classes, strict=True)
        ],
    }
    if run.evolution is not None:
        numbers["separability"] = [
            {
                "epoch": epoch,
                "knn": finite(features.knn),
                "silhouette": finite(features.silhouette),
                "effective_rank": features.effective_rank,
            }
            for epoch, features in zip(run.evolution.epochs, run.evolution.separability, strict=True)
        ]
    return numbers


def figure_numbers(figures: Figures) -> dict[str, Any]:
    """Figures over all classes, for JSON."""
    return {
        "images": figures.images,
        "correct": figures.correct,
        "no_interval": figures.no_interval,
        "top1": figures.top1,
        "top1_interval": ends(figures.top1_interval),
        "top5": figures.top5,
        "top5_interval": ends(figures.top5_interval),
        "balanced_accuracy": figures.balanced,
        "balanced_accuracy_interval": ends(figures.balanced_interval),
        "macro_f1": figures.macro_f1,
        "macro_f1_interval": ends(figures.macro_f1_interval),
    }


def calibration_numbers(calibration: Calibration) -> dict[str, Any]:
    """How far the probabilities are from the shares of right images, for JSON."""
    return {
        "l2_calibration_error": calibration.error,
        "l2_calibration_error_interval": ends(calibration.error_interval),
        "brier": calibration.brier,
        "negative_log_likelihood": calibration.negative_log_likelihood,
    }


def _reliability(calibration: Calibration) -> dict[str, Any]:
    bins = [asdict(b) | {"accuracy_interval": ends(b.accuracy_interval)} for b in calibration.bins]
    return calibration_numbers(calibration) | {"reliability": bins}


def rows(collected: Collected[RunFigures]) -> list[dict[str, Any]]:
    """One row per run."""
    names = ("top1", "top5", "balanced_accuracy", "macro_f1", "l2_calibration_error")
    return [table_row(run, _run_numbers(run), names) for run in collected.runs]
