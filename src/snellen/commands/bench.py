"""Training's speed beside two yardsticks: the same network on ready batches, and a plain torchvision loop."""

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
from torch import nn

from snellen.data.feed import Batch
from snellen.data.sources import ImageSet, read_images
from snellen.engine.device import synchronise
from snellen.engine.environment import processor
from snellen.engine.loop import Job, one_step
from snellen.engine.optimizer import build_optimizer
from snellen.models.classifier import build_classifier
from snellen.recipe.load import load_for
from snellen.recipe.schema import Recipe
from snellen.tasks.preparation import prepare

_ROUNDS = 3
_WARM_UP = 2


@dataclass(frozen=True)
class TrainingSpeed:
    """Images a second, the median of three rounds, from one process.

    training: snellen's own loop, decoding, augmentation and bookkeeping included. ready: the same steps on one batch
    that lies ready. plain: torchvision's loader, DataLoader and an fp32 loop with the same geometry and optimiser.
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
    """Measures training's speed on `data`; `seconds` for each of three rounds of each of three loops, interleaved."""
    console = console or Console(stderr=True)
    loaded = load_for(Recipe, recipe, overrides)
    loaded = loaded.model_copy(update={"budget": None})
    images = read_images(data, loaded.data)
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare(Path(folder), loaded, images, console, recorded=None)
        job = prepared.job
        loops: dict[str, Callable[[], Iterator[int]]] = {
            "training": lambda: _training(job),
            "ready": lambda: _ready(job),
            "plain": lambda: _plain(prepared.images, loaded, job.feed.device),
        }
        speeds: dict[str, list[float]] = {name: [] for name in loops}
        for round_ in range(_ROUNDS):
            for name, loop in loops.items():
                speed = _images_per_second(loop(), seconds, job.feed.device)
                speeds[name].append(speed)
                console.print(f"round {round_ + 1}: {name} {speed:.0f} images/s", highlight=False)
    medians = {name: sorted(values)[_ROUNDS // 2] for name, values in speeds.items()}
    device = torch.cuda.get_device_name(job.feed.device) if job.feed.device.type == "cuda" else processor()
    machine = (
        f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}, Python {platform.python_version()}"
    )
    return TrainingSpeed(**medians, mode=str(job.mode), machine=machine)


def render(speed: TrainingSpeed) -> RenderableType:
    """The figures as a table for people."""
    table = Table(box=None, pad_edge=False)
    for column in ("loop", "images/s", "training is"):
        table.add_column(column, justify="left" if column == "loop" else "right")
    table.add_row(f"snellen, {speed.mode}", f"{speed.training:.0f}", "")
    table.add_row(
        f"the same network on a ready batch, {speed.mode}", f"{speed.ready:.0f}", f"{speed.training / speed.ready:.0%}"
    )
    table.add_row(
        "torchvision ImageFolder + DataLoader, fp32", f"{speed.plain:.0f}", f"{speed.training / speed.plain:.2f}x"
    )
    return Group(table, speed.machine)


def _images_per_second(steps: Iterator[int], seconds: float, device: torch.device) -> float:
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


def _copied(job: Job) -> Job:
    return job.on(copy.deepcopy(job.model))


def _training(job: Job) -> Iterator[int]:
    trial = _copied(job)
    trained, optimizer = trial.setup()
    trial.model.train()
    step = 0
    for epoch in itertools.count(1):
        for batch in trial.feed.train(epoch):
            one_step(trial, trained, optimizer, batch, step)
            step += 1
            yield len(batch.target)


def _ready(job: Job) -> Iterator[int]:
    trial = _copied(job)
    trained, optimizer = trial.setup()
    trial.model.train()
    batch: Batch = next(iter(trial.feed.train(1)))
    for step in itertools.count():
        one_step(trial, trained, optimizer, batch, step)
        yield len(batch.target)


def _plain(images: ImageSet, recipe: Recipe, device: torch.device) -> Iterator[int]:
    """What a tutorial would write: one image at a time through torchvision's transforms, fp32, contiguous."""
    from torch.utils.data import DataLoader

    network, _ = build_classifier(recipe.model, len(images.classes), recipe.augmentation.size, recipe.seed)
    network.to(device)
    optimizer = build_optimizer(recipe.optimizer, network)
    loader = DataLoader(
        _Files(images, recipe), batch_size=recipe.batch_size, shuffle=True, num_workers=torch.get_num_threads()
    )
    for _ in itertools.count():
        for pixels, target in loader:
            loss = nn.functional.cross_entropy(network(pixels.to(device)), target.to(device))
            loss.backward()  # type: ignore[no-untyped-call]
            if recipe.optimizer.clip_norm is not None:
                nn.utils.clip_grad_norm_(network.parameters(), recipe.optimizer.clip_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            yield len(target)


class _Files(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
    """The training images as torchvision's ImageFolder would give them, with the recipe's geometry."""

    def __init__(self, images: ImageSet, recipe: Recipe) -> None:
        from torchvision.transforms import v2

        spec = recipe.augmentation
        if spec.crop == "resized":
            geometry: list[nn.Module] = [v2.RandomResizedCrop(spec.size, spec.scale, spec.ratio, antialias=True)]
        else:
            resize = [] if spec.resize is None else [v2.Resize(spec.resize, antialias=True)]
            geometry = [*resize, v2.RandomCrop(spec.size, spec.padding)]
        rotation = [v2.RandomRotation(spec.rotation)] if spec.rotation else []
        scaled = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.25] * 3)]
        self._transform = v2.Compose([*geometry, *rotation, v2.RandomHorizontalFlip(), *scaled])
        self._samples = [(str(images.root / sample.path), sample.label) for sample in images.train]

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        from torchvision.datasets.folder import default_loader

        path, label = self._samples[row]
        return self._transform(default_loader(path)), label
