"""The step at which a loss or a weight stopped being finite, kept so that it can be computed again.

A loss is read some steps late, when the weights before it are gone. But training is exact: the steps since the last
checkpoint are computed once more, until the first whose loss or weights are not finite. diverged.pt holds

    model, optimizer, ema   the state before that step, as in last.pt
    batch                   the fields of its batch
    epoch, step_in_epoch, step    where it is in the run: epoch counted from 1, the others from 0
    seed, mode              of the run; what the step draws is derived from the seed and its position
"""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from snellen.engine import loop
from snellen.engine.checkpoint import Checkpoint
from snellen.engine.loop import Job
from snellen.models.weights import load_tensors

DIVERGED = "diverged.pt"


def capture(job: Job, last_step: int) -> Path | None:
    """Writes diverged.pt. Returns its path; None if all steps until the `last_step`-th of the run are finite this time.

    job: of the run that has diverged, prepared as for a resume in the same mode.
    """
    checkpoint, progress = job.begin()
    trained, optimizer = job.setup()
    while progress.step < last_step:
        job.model.train()
        for batch in job.feed.train(progress.epoch, start=progress.step_in_epoch):
            before = copy.deepcopy(checkpoint.state())
            loss, *_ = loop.one_step(job, trained, optimizer, batch, progress.step)
            if not (loss.isfinite() and loop.weights_are_finite(job)):
                position = {name: getattr(progress, name) for name in ("epoch", "step_in_epoch", "step")}
                settings = {"seed": job.recipe.seed, "mode": dataclasses.asdict(job.mode)}
                job.writer.state(DIVERGED, {**before, "batch": vars(batch), **position, **settings})
                return job.path / DIVERGED
            progress.step += 1
            progress.step_in_epoch += 1
            if progress.step == last_step:
                return None
        progress.begin_epoch(progress.epoch + 1)
    return None


def step_again(job: Job, captured: dict[str, Any]) -> Tensor:
    """Computes a captured step on the network of `job`, which is left as the step leaves it. Returns the loss."""
    Checkpoint(job.writer, job.model, job.optimizer, job.ema).load(captured)
    job.model.train()
    alike = next(iter(job.feed.train(captured["epoch"], start=captured["step_in_epoch"])))
    fields = {
        name: value.to(getattr(alike, name).device) if isinstance(value, Tensor) else value
        for name, value in captured["batch"].items()
    }
    loss, *_ = loop.one_step(job, *job.setup(), dataclasses.replace(alike, **fields), captured["step"])
    return loss


def read_capture(run: Path) -> dict[str, Any]:
    """diverged.pt of a run, on the CPU."""
    captured: dict[str, Any] = load_tensors(run / DIVERGED, torch.device("cpu"))
    return captured
