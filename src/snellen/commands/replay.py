"""For developers: the step at which a run diverged, computed again."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from rich.console import Console
from torch import Tensor

from snellen.engine.capture import DIVERGED, read_capture, step_again
from snellen.engine.loop import Job
from snellen.engine.mode import Mode
from snellen.errors import UserError
from snellen.runs import Run, load
from snellen.tasks.arithmetic import recorded_of


def replay(run: str | Path | Run) -> tuple[Job, Tensor]:
    """Computes the step in diverged.pt of a run, in the mode in which it diverged.

    Returns the job, with the network as that step leaves it, and the loss. The run's images set the job up; the batch
    is the captured one. To see where the first value that is not finite arises, call it under
    torch.autograd.detect_anomaly(). Raises UserError if the run has not diverged.
    """
    opened = load(run)
    if not (opened.path / DIVERGED).is_file():
        raise UserError(f"{opened.path}: holds no {DIVERGED}; no loss or weight of this run was captured.")
    captured = read_capture(opened.path)
    recorded = dataclasses.replace(recorded_of(opened), mode=Mode(**captured["mode"]))
    images = opened.kind.data.read_again(opened, opened.recipe)
    job: Job = opened.kind.prepare.prepare(opened.path, opened.recipe, images, Console(quiet=True), recorded).job
    return job, step_again(job, captured)
