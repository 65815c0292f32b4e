"""Training: from a recipe and images to a finished run directory; the same flow for every kind of task."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from snellen.commands.execution import execute, write_start
from snellen.data.given import check_source
from snellen.engine.checkpoint import recover
from snellen.engine.display import Display
from snellen.engine.interrupt import StopRequest
from snellen.engine.loop import Job
from snellen.engine.loop import train as train_together
from snellen.engine.processes import SET_UP, announced, connection, following, is_follower, join
from snellen.engine.recipe import CommonRecipe
from snellen.errors import DivergedError, UserError
from snellen.files import as_path
from snellen.recipe.load import dotted
from snellen.run.claim import locked, new_run
from snellen.run.writer import RunWriter
from snellen.runs import Run, load
from snellen.tasks.arithmetic import recorded_of
from snellen.tasks.kinds import AnyKind, kind_of_data, kinds_of, load_for, recipe_types
from snellen.tasks.setup import absolute, check_unchanged, say_notes
from snellen.tracking.tracked import check_trackers

if TYPE_CHECKING:
    from snellen.data.listing import Source


def train(
    data: Source,
    /,
    recipe: str | Path | Mapping[str, Any] | CommonRecipe | None = None,
    *,
    out: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    console: Console | None = None,
    quiet: bool = False,
    **fields: Any,
) -> Run:
    """Trains a classifier, or a segmenter if the images have masks, and returns its run.

    Parameters:
        data: a folder of images in class folders or of images with masks, a table (CSV, TSV, Parquet) of paths and
            labels, "torchvision:NAME", or a DataFrame with the columns path and class, optionally also split and group
            (paths are relative to the working folder).
        recipe: the name of a shipped recipe, a YAML file, or a dictionary of fields. None: one is chosen from the
            kind of data, the image size and the hardware.
        out: a new or empty folder for the run. None: runs/<recipe>-<time>.
        overrides: fields of the recipe by dotted key, {"optimizer.lr": 0.01}. `fields` take precedence.
        console: the rich console that progress is printed on. None: standard error.
        quiet: print nothing (no effect if `console` is given).
        fields: fields of the recipe, epochs=5 or model={"backbone": "resnet18"}; by dotted key,
            **{"optimizer.lr": 0.01}.

    Returns the run. If Ctrl-C stopped it, run.status.state is "interrupted" and `resume` continues it.
    Raises UserError for input that cannot work; nothing is left behind then.

    >>> run = snellen.train("digits", "airnet-scratch", epochs=1, out="runs/digits")
    >>> run
    Run('runs/digits'): finished, epoch 1 of 1, top-1 ...%
    >>> list(run.metrics()["epoch"])  # a DataFrame with one row per epoch
    [1]
    """
    return train_by("train", data, recipe, out, overrides, fields, console or Console(stderr=True, quiet=quiet))


def train_by(
    command: str,
    data: Source,
    recipe: str | Path | Mapping[str, Any] | CommonRecipe | None,
    out: str | Path | None,
    overrides: Mapping[str, Any] | None,
    keywords: Mapping[str, Any],
    console: Console,
) -> Run:
    """The common part of `train` and `pretrain`. command: which of them."""
    if is_follower():
        return follow()
    data, fields = check_source(data), dotted(overrides, keywords, recipe_types())
    folder = None if out is None else as_path(out, "out")
    if recipe is None:
        kinds = kinds_of(command)
        kind = kinds[0] if len(kinds) == 1 else kind_of_data(data)
        images, loaded = kind.data.choose(data, fields, console)
    else:
        kind, loaded = load_for(command, recipe, fields)
        check_trackers(loaded.trackers)  # before images are read, which may take minutes
        images = kind.data.read(data, loaded)
    return train_on(kind, images, data, loaded, folder, console)


def train_on(kind: AnyKind, images: Any, data: Source, recipe: CommonRecipe, out: Path | None, console: Console) -> Run:
    """`train` with images that were already read from `data`."""
    check_trackers(recipe.trackers)
    recipe = kind.data.portable(recipe)
    kind.data.announce(images, console)
    with new_run(out, recipe.name) as path:
        prepared = kind.prepare.prepare(path, recipe, images, console, recorded=None)
        source = absolute(kind.data.keep_source(data, prepared.job.writer))
        write_start(prepared, kind.prepare.facts(prepared, source, console))
        return execute(prepared.job, console, lambda: prepare_again(kind, path, images, console))


def resume(
    run: str | Path | Run, *, devices: int | None = None, console: Console | None = None, quiet: bool = False
) -> Run:
    """Resumes a stopped run of any kind from its last checkpoint; the result is that of a run that was never stopped.

    Parameters:
        run: a run, or its folder.
        devices: processes that train it from now on. None: as many as before.
        console: the rich console that progress is printed on. None: standard error.
        quiet: print nothing (no effect if `console` is given).

    Returns the run.
    Raises UserError if the run is finished or has diverged, or if its images or its recipe have changed.
    """
    if is_follower():
        return follow()
    console = console or Console(stderr=True, quiet=quiet)
    if devices is not None and devices < 1:
        raise UserError(f"hardware.devices={devices}: expected at least 1.")
    opened = load(run)
    status = opened.status
    if status.finished:
        raise UserError(f"{run}: this run is finished (epoch {status.epochs_done}); there is nothing to resume.")
    if status.diverged:
        raise UserError(f"{run}: {status.error}")
    check_trackers(opened.recipe.trackers)
    kind, path = opened.kind, opened.path
    with locked(path):
        try:
            images = _images_again(opened)
        except UserError as error:
            raise UserError(
                f"{error}\nNothing of the run was changed. Once its images are restored: snellen train --resume {path}"
            ) from error
        note = recover(RunWriter(path))
        say_notes(console, [] if note is None else [note])
        again = partial(prepare_again, kind, path, images, console, devices)
        return execute(again(), console, again)


def follow(timeout: timedelta = SET_UP) -> Run:
    """Trains the run that the first of several processes has set up together with that one. Returns the run.

    timeout: how long to wait for the first process to appear.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process decides when to stop
    quiet = Console(quiet=True)
    store, path = join(timeout), None
    with following(store):
        for number, path in enumerate(announced(store), start=1):
            run = Run(path)
            job = prepare_again(run.kind, path, _images_again(run), quiet)
            start = job.begin()
            with (
                connection(store, number, job) as together,
                StopRequest() as stop,
                Display(quiet, job.recipe.epochs, 1, 0) as display,
                suppress(DivergedError),  # the first process goes back to fp32, or ends
            ):
                train_together(together, display, stop, *start)
    if path is None:
        raise UserError("the first process of this run has ended while it was setting the run up; see its message.")
    return Run(path)


def _images_again(run: Run) -> Any:
    """The images that a run began with. Raises UserError if they have changed."""
    images = run.kind.data.read_again(run, run.recipe)
    check_unchanged(run.data, "fingerprint", images.fingerprint)
    return images


def prepare_again(kind: AnyKind, path: Path, images: Any, console: Console, devices: int | None = None) -> Job:
    """The job of a run to be continued, in the mode that its folder now names. devices: in place of the recipe's."""
    run = Run(path)
    recipe = run.recipe if devices is None else run.recipe.with_part("hardware", devices=devices)
    return kind.prepare.prepare(path, recipe, images, console, recorded_of(run)).job
