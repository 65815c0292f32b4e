"""What becomes of a run whose loss is no longer a number: once more in fp32, or the end."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from snellen.engine.checkpoint import Progress
from snellen.engine.recipe import CommonRecipe
from snellen.recipe.load import dump
from snellen.run.writer import RunWriter
from snellen.runs import Run

_LAST, _BEST, _SCORED = "checkpoints/last.pt", "checkpoints/best.safetensors", "predictions/validation.npz"


def start_again(reason: str, recipe: CommonRecipe) -> str:
    """What to do where fp32 diverges: a resume would only repeat it."""
    rate = recipe.optimizer.lr / 10
    return f"{reason}. Start again with a lower optimizer.lr, for example optimizer.lr={rate:.2g}"


def go_back_in_fp32(writer: RunWriter, reason: str) -> str:
    """Makes the run one that goes on in fp32 from its last checkpoint, or from its start where there is none.

    environment.json gets the switch and the new mode, recipe.yaml the new precision; `resume` reads both. A chosen
    epoch that came after the checkpoint is forgotten. Returns what to tell the user.
    """
    run = Run(writer.path)
    before = run.mode
    after = dataclasses.replace(before, precision="fp32")
    step = _forget_later_epochs(writer)
    switch = {"step": step, "before": str(before), "after": str(after), "reason": reason}
    switches = [*run.environment.get("switches", []), switch]
    writer.json("environment.json", run.environment | dataclasses.asdict(after) | {"switches": switches})
    hardware = after.fixed(run.recipe.hardware)
    writer.text("recipe.yaml", dump(run.recipe.model_copy(update={"hardware": hardware})))
    start = f"from the checkpoint after step {step}" if step else "from the start"
    return f"{reason}, in {before}. The run goes on in {after}, {start}; its page says so."


def _forget_later_epochs(writer: RunWriter) -> int:
    """Steps done at the checkpoint; what was chosen after it is removed."""
    last = writer.path / _LAST
    progress = Progress()
    state: dict[str, Any] | None = None
    if last.is_file():
        state = torch.load(last, map_location="cpu", weights_only=True)
        assert state is not None
        progress = Progress(**state["progress"])
    if _chosen(writer.path) == progress.chosen_epoch:
        return progress.step
    if state is not None:  # its chosen epoch was replaced by a later one: the next one scored is chosen
        fresh = Progress()
        progress.chosen_epoch, progress.chosen_quality = fresh.chosen_epoch, fresh.chosen_quality
        writer.state(_LAST, state | {"progress": dataclasses.asdict(progress)})
    for name in (_BEST, _SCORED):
        writer.remove(name)
    return progress.step


def _chosen(path: Path) -> int:
    """The epoch whose weights are kept as the best; 0 where there are none."""
    if not (path / _BEST).is_file():
        return 0
    with safe_open(path / _BEST, framework="pt") as file:
        return int((file.metadata() or {}).get("epoch", 0))
