"""What happens to a run whose loss is no longer finite: it continues in fp32, or ends."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from rich.console import Console

from snellen.engine.capture import capture
from snellen.engine.checkpoint import BEST, PREVIOUS, kept_epoch, recover, saved_progress
from snellen.engine.loop import Job
from snellen.engine.recipe import CommonRecipe
from snellen.errors import UserError
from snellen.recipe.load import dump
from snellen.run.environment import Switch
from snellen.run.writer import RunWriter
from snellen.runs import Run
from snellen.tasks.arithmetic import in_mode
from snellen.tasks.setup import say

_PREDICTIONS = "predictions/validation.npz"


def captured(again: Callable[[], Job], last_step: int, console: Console) -> list[str]:
    """A sentence on the file in which the step that has diverged was kept; none if it could not be captured.

    again: prepares the job of the run as for a resume. last_step: the last one that was done, counted from 1.
    """
    say(console, "looking for the step at which the numbers stopped being finite")
    try:
        file = capture(again(), last_step)
    except (UserError, RuntimeError, OSError):  # a full disk, or no memory for a second network
        return []
    return [] if file is None else [f"The state before the step that diverged, and its batch, are kept in {file}."]


def start_again(reason: str, recipe: CommonRecipe) -> str:
    """Advice if fp32 diverges: resuming would only repeat it. reason: in sentences."""
    rate = recipe.optimizer.lr / 10
    return f"{reason} Start again with a lower optimizer.lr, for example optimizer.lr={rate:.2g}"


def go_back_in_fp32(writer: RunWriter, reason: str) -> str:
    """Prepares a run to continue in fp32 from its last checkpoint, or from its start if there is none.

    environment.json gets the switch and the new mode, recipe.yaml the new precision; `resume` reads both. An epoch
    chosen after the checkpoint is discarded. Returns a note for the user.
    """
    run = Run(writer.path)
    before = run.mode
    after = dataclasses.replace(before, precision="fp32")
    damage = recover(writer)
    progress = saved_progress(writer.path)
    if kept_epoch(writer.path) != progress.chosen_epoch:
        for name in (BEST, _PREDICTIONS):
            writer.remove(name)
    writer.remove(PREVIOUS)  # the run continues from the last one and says so
    switches = [*run.environment.switches, Switch(progress.step, str(before), str(after), reason)]
    environment = dataclasses.replace(run.environment, **dataclasses.asdict(after), switches=switches)
    writer.json("environment.json", environment.as_dict())
    writer.text("recipe.yaml", dump(in_mode(run.recipe, after)))
    start = f"from the checkpoint after step {progress.step}" if progress.step else "from the start"
    note = f"{reason}, in {before}. The run continues in {after}, {start}; its report says so."
    return note if damage is None else f"{damage} {note}"
