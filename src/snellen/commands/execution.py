"""The execution of any run: the files at its start, training to the end or to Ctrl-C, its status."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from rich.console import Console

from snellen.commands.divergence import captured, go_back_in_fp32, start_again
from snellen.commands.final_scores import score_test_part, write_predictions
from snellen.engine.checkpoint import PREVIOUS, Checkpoint, Progress
from snellen.engine.display import Display
from snellen.engine.environment import describe, peak_memory_mib
from snellen.engine.few_steps import few_steps_note
from snellen.engine.interrupt import StopRequest
from snellen.engine.loop import Job
from snellen.engine.loop import train as run_loop
from snellen.engine.out_of_memory import memory_explained
from snellen.engine.processes import Processes
from snellen.errors import DivergedError, UserError
from snellen.files import why_not_written
from snellen.recipe.load import dump
from snellen.reporting.closing import closing_lines
from snellen.reporting.runs import RunView
from snellen.run.status import State, Status
from snellen.runs import Run
from snellen.study.directory import in_study, study_of
from snellen.tasks.kind import Facts
from snellen.tasks.setup import Prepared, say, say_notes
from snellen.tracking.tracked import tracked
from snellen.tracking.tracker import Subject
from snellen.words import counted


def write_start(prepared: Prepared[Any, Any], facts: Facts) -> None:
    """Writes everything known before the first step; recipe.yaml last, since it makes the folder a run."""
    job, writer = prepared.job, prepared.job.writer
    writer.text("samples.csv", facts.samples)
    writer.json("data.json", facts.data)
    environment = describe(job, prepared.timings, prepared.weights, prepared.input_size)
    writer.json("environment.json", environment.as_dict())
    write_status("running", job, Progress())
    writer.text("recipe.yaml", dump(job.recipe))


def write_status(
    state: State,
    job: Job,
    progress: Progress,
    error: str | None = None,
    diverged: bool = False,
    view: RunView | None = None,
) -> None:
    """Writes status.json. diverged: whether the run cannot be resumed. view: of a finished run, for its headline."""
    seconds, quality = progress.seconds_training, progress.chosen_quality
    score = quality if progress.chosen_epoch and math.isfinite(quality) else None
    interval, images = None, job.task.evaluated_images
    figure = None if view is None else view.headline_figure
    if view is not None and figure is not None:
        _, score, interval = figure
        images = len(view.samples)
    status = Status(
        state=state,
        epochs_done=progress.epoch - 1,
        epochs=job.recipe.epochs,
        steps_done=progress.step,
        seconds_training=round(seconds, 2),
        seconds_evaluating=round(progress.seconds_evaluating, 2),
        images_per_second=round(progress.images / seconds, 1) if seconds else None,
        peak_memory_mib=round(peak_memory_mib(job.feed.device), 1),
        chosen_epoch=progress.chosen_epoch or None,
        measure=job.task.measure,
        score=score,
        low=None if interval is None else interval.low,
        high=None if interval is None else interval.high,
        images=images,
        error=error,
        diverged=diverged,
    )
    job.writer.json("status.json", status.as_dict())


def execute(job: Job, console: Console, again: Callable[[], Job]) -> Run:
    """Trains to the end or to Ctrl-C, then writes final scores and, outside of a study, the report.

    A run that diverges in reduced precision continues in fp32: again() prepares its job as for a resume. In fp32 it
    ends. Raises UserError for anything that stops a run.
    """
    try:
        with (
            Processes(job.recipe.hardware.devices) as processes,
            tracked(job.path, job.recipe.trackers, lambda: _subject(job), console),
        ):
            return _execute(job, processes, console, again)
    except KeyboardInterrupt:  # before or after training, or twice: the current step is not finished
        raise KeyboardInterrupt(f"stopped; {_next_command(Run(job.path))}") from None


def _subject(job: Job) -> Subject:
    """The run, as trackers show it."""
    run, study = Run(job.path), study_of(job.path)
    return Subject(
        name=run.name,
        study=None if study is None else study.resolve().name,
        fields=job.recipe.model_dump(mode="json"),
        facts={
            "version": run.environment.snellen,
            "task": job.recipe.task,
            "recipe": job.recipe.name,
            "measure": job.task.measure,
            "images": run.data["fingerprint"],
            "folder": str(job.path.resolve()),
        },
    )


def _execute(job: Job, processes: Processes, console: Console, again: Callable[[], Job]) -> Run:
    checkpoint, progress = job.begin()
    try:
        view = _trained(job, processes, checkpoint, progress, console)
    except DivergedError as error:
        kept = captured(again, progress.step, console)
        if job.mode.precision != "fp32":
            say_notes(console, [*kept, go_back_in_fp32(job.writer, str(error))])
            return _execute(again(), processes, console, again)
        message = start_again(" ".join([f"{error}.", *kept]), job.recipe)
        write_status("failed", job, progress, message, diverged=True)
        raise UserError(message) from error
    except (UserError, OSError) as error:
        message = str(error)
        if isinstance(error, OSError):
            why = why_not_written(error)
            if why is None:
                raise
            message = f"{job.path}: {why}."
        with suppress(UserError):  # a full disk may have no room for this either
            write_status("failed", job, progress, message)
        raise UserError(f"{message}\nTo resume from the last checkpoint: snellen train --resume {job.path}") from error
    if view is not None and not in_study(job.path):
        _report(view, console)
    return Run(job.path)


def _trained(
    job: Job, processes: Processes, checkpoint: Checkpoint, progress: Progress, console: Console
) -> RunView | None:
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
        processes.connected(job) as together,
    ):
        finished = run_loop(together, display, stop, checkpoint, progress)
    write_predictions(Run(path), job.writer, "validation")
    if not finished:
        write_status("interrupted", job, progress)
        say(console, f"stopped; to resume: snellen train --resume {path}")
        return None
    write_status("running", job, progress)  # so that a run stopped here resumes with the test part
    score_test_part(Run(path), job.writer, console)
    run = Run(path)
    view = run.kind.report.view(run.recipe.name, run, 0)
    job.writer.remove(PREVIOUS)  # nothing resumes a finished run
    write_status("finished", job, progress, view=view)
    return view


def _next_command(run: Run) -> str:
    if in_study(run.path):
        return "the same command resumes the study"
    if run.status.finished:
        return f"the run is finished; to write its report: snellen report {run.path}"
    return f"to resume: snellen train --resume {run.path}"


def _report(view: RunView, console: Console) -> None:
    """Writes the report of a finished run, and prints its headline and the next commands."""
    path = view.run.path
    try:
        page = Run(path).report()
    except UserError as error:
        raise UserError(f"{error}\nThe run is finished; to write its report: snellen report {path}") from error
    for line in (*closing_lines(view), f"report: {page}", *view.next_commands):
        say(console, line)
