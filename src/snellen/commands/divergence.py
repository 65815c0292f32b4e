"""What happens to a run whose loss is no longer finite: it continues in fp32, or ends."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from snellen.engine.checkpoint import Progress
from snellen.engine.recipe import CommonRecipe
from snellen.models.weights import load_tensors
from snellen.recipe.load import dump
from snellen.run.environment import Switch
from snellen.run.writer import RunWriter
from snellen.runs import Run
from snellen.tasks.arithmetic import in_mode

_LAST, _BEST, _PREDICTIONS = "checkpoints/last.pt", "checkpoints/best.safetensors", "predictions/validation.npz"


def start_again(reason: str, recipe: CommonRecipe) -> str:
    """Advice if fp32 diverges: resuming would only repeat it."""
    rate = recipe.optimizer.lr / 10
    return f"{reason}. Start again with a lower optimizer.lr, for example optimizer.lr={rate:.2g}"


def go_back_in_fp32(writer: RunWriter, reason: str) -> str:
    """Prepares a run to continue in fp32 from its last checkpoint, or from its start if there is none.

    environment.json gets the switch and the new mode, recipe.yaml the new precision; `resume` reads both. An epoch
    chosen after the checkpoint is discarded. Returns a note for the user.
    """
    run = Run(writer.path)
    before = run.mode
    after = dataclasses.replace(before, precision="fp32")
    step = _discard_later_epochs(writer)
    switches = [*run.environment.switches, Switch(step, str(before), str(after), reason)]
    environment = dataclasses.replace(run.environment, **dataclasses.asdict(after), switches=switches)
    writer.json("environment.json", environment.as_dict())
    writer.text("recipe.yaml", dump(in_mode(run.recipe, after)))
    start = f"from the checkpoint after step {step}" if step else "from the start"
    return f"{reason}, in {before}. The run continues in {after}, {start}; its report says so."


def _discard_later_epochs(writer: RunWriter) -> int:
    """Removes an epoch chosen after the checkpoint. Returns the steps done at the checkpoint."""
    last = writer.path / _LAST
    progress = Progress()
    state: dict[str, Any] | None = None
    if last.is_file():
        state = load_tensors(last, torch.device("cpu"))
        assert state is not None
        progress = Progress(**state["progress"])
    if _chosen_epoch(writer.path) == progress.chosen_epoch:
        return progress.step
    if state is not None:  # its chosen epoch was overwritten by a later one: the next scored epoch is chosen
        initial = Progress()
        progress.chosen_epoch, progress.chosen_quality = initial.chosen_epoch, initial.chosen_quality
        writer.state(_LAST, state | {"progress": dataclasses.asdict(progress)})
    for name in (_BEST, _PREDICTIONS):
        writer.remove(name)
    return progress.step


def _chosen_epoch(path: Path) -> int:
    """The epoch whose weights are kept; 0 if there are none."""
    if not (path / _BEST).is_file():
        return 0
    with safe_open(path / _BEST, framework="pt") as file:
        return int((file.metadata() or {}).get("epoch", 0))
