"""The execution of any run: the files at its start, training to the end or to Ctrl-C, its status."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from rich.console import Console

from snellen.commands.divergence import go_back_in_fp32, start_again
from snellen.commands.final_scores import score_test_part, write_predictions
from snellen.engine.checkpoint import Checkpoint, Progress
from snellen.engine.display import Display
from snellen.engine.environment import describe, peak_memory_mib
from snellen.engine.few_steps import few_steps_note
from snellen.engine.interrupt import StopRequest
from snellen.engine.loop import Job
from snellen.engine.loop import train as run_loop
from snellen.engine.out_of_memory import memory_explained
from snellen.errors import DivergedError, UserError
from snellen.files import FULL
from snellen.models.classifier import count_macs, count_parameters
from snellen.recipe.load import dump
from snellen.reporting.closing import closing_lines
from snellen.reporting.runs import RunView
from snellen.run.directory import FORMAT
from snellen.runs import Run
from snellen.study.directory import in_study
from snellen.tasks.kind import Facts
from snellen.tasks.setup import Prepared, say, say_notes
from snellen.words import counted


def write_start(prepared: Prepared, facts: Facts) -> None:
    """Writes everything known before the first step; recipe.yaml last, since it makes the folder a run."""
    job, writer, weights = prepared.job, prepared.job.writer, prepared.weights
    network = job.task.weights(job.model)
    writer.text("samples.csv", facts.samples)
    writer.json("data.json", facts.data)
    environment = describe(job.feed.device) | {
        "format": FORMAT,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": job.recipe.seed,
        **dataclasses.asdict(job.mode),
        "measured": [entry.as_dict() for entry in prepared.timings],
        "parameters": count_parameters(network),
        "trainable_parameters": sum(p.numel() for p in network.parameters() if p.requires_grad),
        "macs": count_macs(network, *prepared.input_size),
        "weights": {
            "source": weights.source,
            "loaded": weights.loaded,
            "missing": list(weights.missing),
            "unexpected": list(weights.unexpected),
            "mismatched": list(weights.mismatched),
        },
    }
    writer.json("environment.json", environment)
    write_status("running", job, Progress())
    writer.text("recipe.yaml", dump(job.recipe))


@dataclasses.dataclass(frozen=True)
class Headline:
    """The score in status.json: its 95% interval [low, high], and the number of images."""

    score: float | None
    low: float | None
    high: float | None
    images: int


def write_status(
    state: str,
    job: Job,
    progress: Progress,
    error: str | None = None,
    diverged: bool = False,
    headline: Headline | None = None,
) -> None:
    """Writes status.json: the progress and cost of the run. diverged: whether the run cannot be resumed.

    headline: the headline of the report of a finished run; until then the score is that of the chosen epoch, without an
    interval.
    """
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
        "measure": job.task.measure,
    }
    if headline is None:
        score = quality if progress.chosen_epoch and math.isfinite(quality) else None
        headline = Headline(score, None, None, job.task.evaluated_images)
    status |= dataclasses.asdict(headline)
    failure = {"error": error, "diverged": diverged} if error else {}
    job.writer.json("status.json", status | failure)


def execute(job: Job, console: Console, again: Callable[[], Job]) -> Run:
    """Trains to the end or to Ctrl-C, then writes final scores and, outside of a study, the report.

    A run that diverges in reduced precision continues in fp32: again() prepares its job as for a resume. In fp32 it
    ends. Raises UserError for anything that stops a run.
    """
    checkpoint, progress = job.begin()
    try:
        view = _trained(job, checkpoint, progress, console)
    except DivergedError as error:
        if job.mode.precision != "fp32":
            note = go_back_in_fp32(job.writer, str(error))
            console.print(f"[yellow]note:[/] {note}", highlight=False, soft_wrap=True)
            return execute(again(), console, again)
        message = start_again(str(error), job.recipe)
        write_status("failed", job, progress, message, diverged=True)
        raise UserError(message) from error
    except (UserError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in FULL:
            raise
        message = f"{job.path}: the disk is full." if isinstance(error, OSError) else str(error)
        with suppress(UserError):  # a full disk may have no room for this either
            write_status("failed", job, progress, message)
        raise UserError(f"{message}\nTo resume from the last checkpoint: snellen train --resume {job.path}") from error
    if view is not None and not in_study(job.path):
        _report(view, console)
    return Run(job.path)


def _trained(job: Job, checkpoint: Checkpoint, progress: Progress, console: Console) -> RunView | None:
    """Trains and scores, from the first status to the last, and returns the run's figures; None if it was stopped."""
    path = job.path
    write_status("running", job, progress)
    if not progress.step and not in_study(path):  # a study has notes on its settings
        note = few_steps_note(job.recipe, int(Run(path).data["counts"]["train"]))
        say_notes(console, [] if note is None else [note])
    say(console, f"training {counted(job.recipe.epochs, 'epoch')} of {counted(job.feed.steps, 'step')} into {path}")
    steps = job.recipe.epochs * job.feed.steps
    with (
        StopRequest() as stop,
        Display(console, job.recipe.epochs, steps, progress.step) as display,
        memory_explained(job.recipe, job.feed.device),
    ):
        finished = run_loop(job, display, stop, checkpoint, progress)
    network = job.task.weights(job.scored)
    job.writer.weights("checkpoints/last.safetensors", network, {"epoch": str(progress.epoch - 1)})
    write_predictions(Run(path), job.writer, "validation")
    if not finished:
        write_status("interrupted", job, progress)
        say(console, f"stopped; to resume: snellen train --resume {path}")
        return None
    write_status("running", job, progress)  # so that a run stopped here resumes with the test part
    score_test_part(Run(path), job.writer, console)
    run = Run(path)
    view = run.kind.report.view(run.recipe.name, run, 0)
    write_status("finished", job, progress, headline=_headline(view))
    return view


def _report(view: RunView, console: Console) -> None:
    """Writes the report of a finished run, and says what it says first."""
    path = view.run.path
    try:
        page = Run(path).report()
    except UserError as error:
        raise UserError(f"{error}\nThe run is finished; to write its report: snellen report {path}") from error
    for line in (*closing_lines(view), f"report: {page}", *view.next_commands):
        say(console, line)


def _headline(view: RunView) -> Headline | None:
    figure = view.headline_figure
    if figure is None:
        return None
    _, score, interval = figure
    low, high = (None, None) if interval is None else (interval.low, interval.high)
    return Headline(score, low, high, len(view.samples))
