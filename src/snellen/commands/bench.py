"""Training speed against two baselines: the same network on a prepared batch, and a plain torchvision loop."""

from __future__ import annotations

import copy
import itertools
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console, Group, RenderableType
from rich.table import Table

from snellen.engine.budget import endless, trial_steps
from snellen.engine.device import synchronise
from snellen.engine.display import per_second
from snellen.engine.environment import unit_name
from snellen.engine.loop import Job
from snellen.tasks.kinds import load_for
from snellen.words import counted

_ROUNDS = 3
_WARM_UP = 2


@dataclass(frozen=True)
class TrainingSpeed:
    """Images per second, the median of three rounds in one process.

    training: snellen's own steps with augmentation, as in epochs after the first: pixels kept in memory are decoded
    before the clock starts, and no journal or checkpoint is written. ready: the same steps on one batch prepared in
    advance. plain: torchvision's transforms, DataLoader and an fp32 loop with the same geometry and optimiser, which
    decodes every image in every epoch, as such loops do.
    """

    training: float
    ready: float
    plain: float
    mode: str
    machine: str


def bench_train(
    recipe: str | Path | Mapping[str, Any],
    data: str | Path,
    *,
    seconds: float = 20,
    overrides: Mapping[str, Any] | None = None,
    console: Console | None = None,
) -> TrainingSpeed:
    """Measures the speed of training on `data`: three loops in three interleaved rounds of `seconds` each."""
    console = console or Console(stderr=True)
    kind, loaded = load_for("train", recipe, {**(overrides or {}), "budget": None})
    with tempfile.TemporaryDirectory() as folder:
        images = kind.data.read(data, loaded)
        prepared = kind.prepare.prepare(Path(folder), loaded, images, console, recorded=None)
        job = prepared.job
        loops: dict[str, Callable[[], Iterator[int]]] = {
            "training": lambda: trial_steps(_copy_of(job), endless(job.feed)),
            "ready": lambda: trial_steps(_copy_of(job), itertools.repeat(next(iter(job.feed.train(1))))),
            "plain": lambda: kind.prepare.plain_loop(prepared),
        }
        speeds: dict[str, list[float]] = {name: [] for name in loops}
        for number in range(1, _ROUNDS + 1):
            for name, loop in loops.items():
                speed = images_per_second(loop(), seconds, job.feed.device)
                speeds[name].append(speed)
                console.print(f"round {number}: {name} {per_second(speed)} images/s", highlight=False)
    medians = {name: sorted(values)[_ROUNDS // 2] for name, values in speeds.items()}
    device = unit_name(job.feed.device)
    machine = (
        f"{device}, {counted(torch.get_num_threads(), 'thread')}, torch {torch.__version__}, Python "
        f"{platform.python_version()}"
    )
    return TrainingSpeed(**medians, mode=str(job.mode), machine=machine)


def render(speed: TrainingSpeed) -> RenderableType:
    """The figures as a table."""
    table = Table(box=None, pad_edge=False)
    for column in ("loop", "images/s", "training is"):
        table.add_column(column, justify="left" if column == "loop" else "right")
    share, times = f"{speed.training / speed.ready:.0%}", f"{speed.training / speed.plain:.2f}x"
    table.add_row(f"snellen, {speed.mode}", per_second(speed.training), "")
    table.add_row(f"the same network on a prepared batch, {speed.mode}", per_second(speed.ready), share)
    table.add_row("torchvision's transforms + DataLoader, fp32", per_second(speed.plain), times)
    return Group(table, speed.machine)


def images_per_second(steps: Iterator[int], seconds: float, device: torch.device) -> float:
    """Of a loop that yields the images of each step, after two steps of warm-up."""
    for _ in range(_WARM_UP):
        next(steps)
    synchronise(device)
    start, images = time.perf_counter(), 0
    for count in steps:
        images += count
        if time.perf_counter() - start >= seconds:
            break
    synchronise(device)
    return images / (time.perf_counter() - start)


def _copy_of(job: Job) -> Job:
    return job.on(copy.deepcopy(job.model))
