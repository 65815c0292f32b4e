"""The arithmetic of a run: its mode, and whether a resumed run can be exact."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from rich.console import Console
from torch import nn

from snellen.data.normalization import Normalization
from snellen.engine.checkpoint import LAST
from snellen.engine.device import find_device, make_fabric
from snellen.engine.display import per_second
from snellen.engine.environment import processor, unit_name
from snellen.engine.mode import Loss, Mode, ModeTiming, Workload
from snellen.engine.out_of_memory import memory_explained
from snellen.engine.precision import Choice, check_compiler, choose
from snellen.engine.recipe import CommonRecipe
from snellen.engine.spec import HardwareSpec
from snellen.engine.task import Autocast, Source
from snellen.run.directory import RunDirectory
from snellen.words import counted

AnyRecipe = TypeVar("AnyRecipe", bound=CommonRecipe)


@dataclass(frozen=True)
class Recorded:
    """What was fixed when a run started and is kept when it is resumed. data: its data.json."""

    mode: Mode
    normalization: Normalization
    trained: bool  # whether there is a checkpoint, which makes initial weights unnecessary
    device: str
    unit: str  # the name of the processor or GPU
    threads: int
    data: Mapping[str, Any]


def recorded_of(run: RunDirectory) -> Recorded:
    """What was fixed when a run started."""
    return Recorded(
        Mode.recorded(run.environment),
        Normalization.recorded(run.data["normalization"]),
        trained=(run.path / LAST).is_file(),
        device=run.environment.device,
        unit=run.environment.gpu or run.environment.cpu,
        threads=run.environment.threads,
        data=run.data,
    )


def settle_mode(
    recipe: CommonRecipe, model: nn.Module, feed: Source, loss: Loss, console: Console, recorded: Recorded | None
) -> tuple[Mode, Sequence[ModeTiming]]:
    """Chooses and prints the mode of a run: its own if it is resumed, else the fastest. Also returns the timings.

    feed: in the contiguous layout. loss: as in Workload. Raises UserError if hardware.compile cannot work here, or if
    every mode runs out of memory.
    """
    if recipe.hardware.compile or (recorded is not None and recorded.mode.compiled):
        check_compiler(feed.device)
    if recorded is not None:
        console.print(mode_sentence(Choice(recorded.mode), feed.device), highlight=False, soft_wrap=True)
        note = why_not_exact(recorded, feed.device, torch.get_num_threads())
        if note:
            console.print(f"[yellow]note:[/] {note}", highlight=False, soft_wrap=True)
        return recorded.mode, ()
    batch = next(iter(feed.train(1)))
    images = batch.images
    network = recipe.network()
    steps = recipe.epochs * feed.steps
    work = Workload(model, images, loss, recipe.accumulation, json.dumps(network, sort_keys=True), steps)
    with memory_explained(recipe, feed.device):
        choice = choose(recipe.hardware, work, console)
    console.print(mode_sentence(choice, feed.device, len(images)), highlight=False, soft_wrap=True)
    return choice.mode, choice.timings


def in_mode(recipe: AnyRecipe, mode: Mode) -> AnyRecipe:
    """The recipe with the mode filled in, so that training from it uses the same one."""
    return recipe.model_copy(update={"hardware": mode.fixed(recipe.hardware)})


def why_not_exact(recorded: Recorded, device: torch.device, threads: int) -> str | None:
    """Why a resumed run will not be bit-identical to an uninterrupted one, and what would make it so; else None."""
    before, now = recorded.device, str(device)
    if before == now:
        before, now = recorded.unit, unit_name(device)
    if before != now:
        return (
            f"this run was computed on {before} and resumes on {now}, so its result may not be bit-identical to that "
            f"of an uninterrupted run. For that, resume it on a machine with {before}."
        )
    if device.type == "cpu" and threads != recorded.threads:
        return (
            f"this run was computed with {counted(recorded.threads, 'thread')} and resumes with {threads}, so its "
            "result will not be bit-identical to that of an uninterrupted run. For that, resume it with "
            f"OMP_NUM_THREADS={recorded.threads} on at least as many cores."
        )
    return None


def mode_sentence(choice: Choice, device: torch.device, batch: int = 0) -> str:
    """The mode and how it was chosen, as text. batch: images in a batch."""
    start = f"device {device}, {choice.mode}"
    if choice.remembered:
        return f"{start} (the fastest when measured on this machine before; hardware.remeasure=true measures again)"
    if not choice.timings:
        return start
    chosen = next(entry for entry in choice.timings if entry.mode == choice.mode)
    others = "".join(
        f"; {entry.mode} {per_second(entry.images / entry.seconds)}" for entry in choice.timings if entry is not chosen
    )
    fewer = f" with {chosen.images} of {batch} images" if chosen.images < batch else ""
    speed = per_second(chosen.images / chosen.seconds)
    return f"{start}: {speed} images/s forward and backward (measured{fewer}{others})"


@dataclass(frozen=True)
class Arithmetic:
    """The device, mode and normalisation that a trained network is run with."""

    device: torch.device
    autocast: Autocast
    mode: Mode
    normalization: Normalization


def arithmetic_of(run: RunDirectory, recipe: CommonRecipe) -> Arithmetic:
    """The run's own mode on the same kind of processor or GPU, else plain fp32; and the run's normalisation."""
    device = find_device(HardwareSpec(device=recipe.hardware.device))
    is_same_unit = device.type == torch.device(run.environment.device).type and (
        device.type != "cpu" or run.environment.cpu == processor()
    )
    mode = Mode.recorded(run.environment)
    if not is_same_unit:
        mode = dataclasses.replace(mode, precision="fp32", unfolded=False)
    autocast = make_fabric(device, mode.precision).autocast
    return Arithmetic(device, autocast, mode, Normalization.recorded(run.data["normalization"]))


def plain_arithmetic(run: RunDirectory) -> Arithmetic:
    """fp32 on the CPU, which is the same everywhere; and the run's normalisation."""
    device, mode = torch.device("cpu"), Mode("fp32", channels_last=False, compiled=False)
    return Arithmetic(
        device, make_fabric(device, "fp32").autocast, mode, Normalization.recorded(run.data["normalization"])
    )
