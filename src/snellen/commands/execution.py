"""What every kind of run has in common: the files at its start, its training to the end or to Ctrl-C, its status."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from torch import nn

from snellen.commands.divergence import go_back_in_fp32, start_again
from snellen.commands.final_scores import score_test_part, write_predictions
from snellen.data.listing import Sample
from snellen.data.normalization import Normalization
from snellen.engine.checkpoint import Progress, save_weights
from snellen.engine.display import Display
from snellen.engine.environment import describe, peak_memory_mib
from snellen.engine.interrupt import StopRequest
from snellen.engine.loop import Job
from snellen.engine.loop import train as run_loop
from snellen.engine.out_of_memory import memory_explained
from snellen.engine.precision import Measured
from snellen.errors import DivergedError, UserError
from snellen.files import FULL, write_json, write_text
from snellen.models.classifier import count_macs, count_parameters
from snellen.models.weights import WeightsReport
from snellen.recipe.load import dump
from snellen.reporting.closing import closing_lines, next_commands
from snellen.run.directory import Run
from snellen.study.directory import in_study
from snellen.tasks.classification.recipe import Recipe
from snellen.tasks.few_steps import few_steps_note
from snellen.tasks.pretraining.recipe import PretrainingRecipe
from snellen.tasks.segmentation.recipe import SegmentationRecipe
from snellen.tasks.setup import Recorded, say_notes
from snellen.words import counted

_SAMPLE_FIELDS = ["row", "split", "path", "target", "class", "group"]

AnyKind = TypeVar("AnyKind", Recipe, PretrainingRecipe, SegmentationRecipe)


def write_start(
    path: Path,
    job: Job,
    kept: nn.Module,
    samples: str,
    data: Mapping[str, Any],
    weights: WeightsReport,
    measured: Sequence[Measured],
    shown: tuple[int, int],
) -> None:
    """Everything that is known before the first step; recipe.yaml last, since it makes the folder a run.

    kept: the network that the run leaves. samples, data: samples.csv and data.json. shown: height and width of a scored
    image as the network sees it, for which its arithmetic is counted.
    """
    write_text(path / "samples.csv", samples)
    write_json(path / "data.json", dict(data))
    environment = describe(job.feed.device) | {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": job.recipe.seed,
        **dataclasses.asdict(job.mode),
        "measured": [entry.as_dict() for entry in measured],
        "parameters": count_parameters(kept),
        "trainable_parameters": sum(p.numel() for p in kept.parameters() if p.requires_grad),
        "macs": count_macs(kept, *shown),
        "weights": {
            "source": weights.source,
            "loaded": weights.loaded,
            "missing": list(weights.missing),
            "unexpected": list(weights.unexpected),
            "mismatched": list(weights.mismatched),
        },
    }
    write_json(path / "environment.json", environment)
    write_status(path, "running", job, Progress())
    write_text(path / "recipe.yaml", dump(job.recipe))


def samples_csv(sets: Sequence[tuple[str, Sequence[Sample]]], classes: Sequence[str]) -> str:
    """samples.csv: a row for each image of each (split, samples); the class of an unlabelled one is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_SAMPLE_FIELDS)
    pairs = [(split, sample) for split, samples in sets for sample in samples]
    for row, (split, sample) in enumerate(pairs):
        name = classes[sample.label] if sample.label >= 0 else ""
        writer.writerow([row, split, sample.path, sample.label, name, sample.group or ""])
    return text.getvalue()


def write_status(
    path: Path, state: str, job: Job, progress: Progress, error: str | None = None, diverged: bool = False
) -> None:
    """status.json: where the run is and what it has cost. diverged: there is nothing to resume."""
    seconds, quality = progress.seconds_training, progress.chosen_quality
    status = {
        "state": state,
        "epochs_done": progress.epoch - 1,
        "epochs": job.recipe.epochs,
        "steps_done": progress.step,
        "seconds_training": round(seconds, 2),
        "seconds_evaluating": round(progress.seconds_evaluating, 2),
        "images_per_second": round(progress.images / seconds, 1) if seconds else None,
        "peak_memory_mib": round(peak_memory_mib(job.feed.device), 1),
        "chosen_epoch": progress.chosen_epoch or None,
        "top1": None,
        "miou": None,
    }
    if progress.chosen_epoch and math.isfinite(quality):
        status[job.task.figure] = quality
    failure = {"error": error, "diverged": diverged} if error else {}
    write_json(path / "status.json", status | failure)


def recorded_of(run: Run) -> Recorded:
    """What a run settled when it began."""
    normalization = run.data["normalization"]
    return Recorded(
        run.mode,
        Normalization(tuple(normalization["mean"]), tuple(normalization["std"]), normalization["source"]),
        trained=(run.path / "checkpoints" / "last.pt").is_file(),
        device=run.environment["device"],
        threads=run.environment["threads"],
    )


def execute(path: Path, job: Job, console: Console, again: Callable[[], Job]) -> Run:
    """Trains to the end or to Ctrl-C, then writes what is made from the whole run; its report, unless a study has one.

    A run that diverges in a reduced precision goes on in fp32: again() prepares its job anew, as a resume does. In fp32
    that is its end. Raises UserError for what stops a run.
    """
    checkpoint, progress = job.begin()
    write_status(path, "running", job, progress)
    if not progress.step and not in_study(path):  # a study says it of its settings
        few = few_steps_note(job.recipe, int(Run(path).data["counts"]["train"]))
        say_notes(console, [] if few is None else [few])
    console.print(
        f"training {counted(job.recipe.epochs, 'epoch')} of {counted(job.feed.steps, 'step')} into {path}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    steps = job.recipe.epochs * job.feed.steps
    try:
        with (
            StopRequest() as stop,
            Display(console, job.recipe.epochs, steps, progress.step) as display,
            memory_explained(job.recipe, job.feed.device),
        ):
            finished = run_loop(job, display, stop, checkpoint, progress)
        network = job.task.weights(job.scored)
        save_weights(path / "checkpoints" / "last.safetensors", network, {"epoch": str(progress.epoch - 1)})
        write_predictions(Run(path), "validation")
        if finished:  # before it is called that: a run that is stopped here goes on with the test part
            write_status(path, "running", job, progress)
            score_test_part(Run(path), console)
    except DivergedError as error:
        if job.mode.precision != "fp32":
            note = go_back_in_fp32(path, str(error))
            console.print(f"[yellow]note:[/] {note}", highlight=False, soft_wrap=True)
            return execute(path, again(), console, again)
        message = start_again(str(error), job.recipe)
        write_status(path, "failed", job, progress, message, diverged=True)
        raise UserError(message) from error
    except (UserError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in FULL:
            raise
        message = f"{job.path}: the disk is full." if isinstance(error, OSError) else str(error)
        with suppress(UserError):  # on a full disk it may not fit either
            write_status(path, "failed", job, progress, message)
        raise UserError(f"{message}\nTo go on from the last checkpoint: snellen train --resume {path}") from error
    write_status(path, "finished" if finished else "interrupted", job, progress)
    run = Run(path)
    if finished and not in_study(path):
        page = run.report()
        for line in (*closing_lines(run), f"report: {page}", *next_commands(run)):
            console.print(line, highlight=False, soft_wrap=True, markup=False)
    elif not finished:
        console.print(
            f"stopped; to go on: snellen train --resume {path}", markup=False, highlight=False, soft_wrap=True
        )
    return run
