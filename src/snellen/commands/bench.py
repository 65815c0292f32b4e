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

from snellen.data.listing import ImageSet
from snellen.data.masks.classes import IGNORE
from snellen.data.masks.decode import decode_mask
from snellen.data.masks.sources import MaskedSet, read_masked
from snellen.data.sources import read_images
from snellen.engine.device import synchronise
from snellen.engine.display import per_second
from snellen.engine.environment import processor
from snellen.engine.loop import Job, one_step
from snellen.engine.optimizer import build_optimizer
from snellen.models.classifier import build_classifier
from snellen.models.segmenters.build import build_segmenter
from snellen.models.segmenters.segmenter import SegmenterOutput
from snellen.recipe.load import load_recipe, of_kind
from snellen.tasks.classification.prepare import prepare
from snellen.tasks.classification.recipe import Recipe
from snellen.tasks.segmentation.prepare import prepare_segmentation
from snellen.tasks.segmentation.recipe import SegmentationRecipe
from snellen.words import counted

_ROUNDS = 3
_WARM_UP = 2


@dataclass(frozen=True)
class TrainingSpeed:
    """Images a second, the median of three rounds, from one process.

    training: snellen's own steps with augmentation, of an epoch after the first: pixels that are kept in memory were
    decoded before the clock starts, and no journal or checkpoint is written. ready: the same steps on one batch that
    lies ready. plain: torchvision's transforms, DataLoader and an fp32 loop with the same geometry and optimiser, which
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
    """Measures training's speed on `data`; `seconds` for each of three rounds of each of three loops, interleaved."""
    console = console or Console(stderr=True)
    loaded = load_recipe(recipe, {**(overrides or {}), "budget": None})
    with tempfile.TemporaryDirectory() as folder:
        job, plain = _prepared(Path(folder), loaded, data, console)
        loops: dict[str, Callable[[], Iterator[int]]] = {
            "training": lambda: _training(job),
            "ready": lambda: _ready(job),
            "plain": plain,
        }
        speeds: dict[str, list[float]] = {name: [] for name in loops}
        for round_ in range(_ROUNDS):
            for name, loop in loops.items():
                speed = _images_per_second(loop(), seconds, job.feed.device)
                speeds[name].append(speed)
                console.print(f"round {round_ + 1}: {name} {per_second(speed)} images/s", highlight=False)
    medians = {name: sorted(values)[_ROUNDS // 2] for name, values in speeds.items()}
    device = torch.cuda.get_device_name(job.feed.device) if job.feed.device.type == "cuda" else processor()
    machine = (
        f"{device}, {counted(torch.get_num_threads(), 'thread')}, torch {torch.__version__}, Python "
        f"{platform.python_version()}"
    )
    return TrainingSpeed(**medians, mode=str(job.mode), machine=machine)


def render(speed: TrainingSpeed) -> RenderableType:
    """The figures as a table for people."""
    table = Table(box=None, pad_edge=False)
    for column in ("loop", "images/s", "training is"):
        table.add_column(column, justify="left" if column == "loop" else "right")
    share, times = f"{speed.training / speed.ready:.0%}", f"{speed.training / speed.plain:.2f}x"
    table.add_row(f"snellen, {speed.mode}", per_second(speed.training), "")
    table.add_row(f"the same network on a ready batch, {speed.mode}", per_second(speed.ready), share)
    table.add_row("torchvision's transforms + DataLoader, fp32", per_second(speed.plain), times)
    return Group(table, speed.machine)


def _prepared(
    folder: Path, recipe: AnyRecipe, data: str | Path, console: Console
) -> tuple[Job, Callable[[], Iterator[int]]]:
    """The job of a recipe on `data`, and the plain loop that does the same work."""
    if isinstance(recipe, SegmentationRecipe):
        masks = prepare_segmentation(folder, recipe, read_masked(data, recipe.data), console, recorded=None)
        images = masks.decoded.images
        return masks.job, lambda: _plain_masks(images, recipe, masks.job.feed.device)
    classes = of_kind(Recipe, recipe)
    prepared = prepare(folder, classes, read_images(data, classes.data), console, recorded=None)
    return prepared.job, lambda: _plain(prepared.images, classes, prepared.job.feed.device)


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
            yield len(batch)


def _ready(job: Job) -> Iterator[int]:
    trial = _copied(job)
    trained, optimizer = trial.setup()
    trial.model.train()
    batch = next(iter(trial.feed.train(1)))
    for step in itertools.count():
        one_step(trial, trained, optimizer, batch, step)
        yield len(batch)


def _plain(images: ImageSet, recipe: Recipe, device: torch.device) -> Iterator[int]:
    """What a tutorial would write: one image at a time through torchvision's transforms, fp32, contiguous."""
    network, _ = build_classifier(recipe.model, len(images.classes), recipe.augmentation.size, recipe.seed)
    return _plain_loop(network, _Files(images, recipe), nn.functional.cross_entropy, recipe, device)


def _plain_masks(images: MaskedSet, recipe: SegmentationRecipe, device: torch.device) -> Iterator[int]:
    """The same for masks, with torchvision's reference loss: cross-entropy, at half weight for an auxiliary head."""
    from_scratch = recipe.model.model_copy(update={"weights": None})
    network, _ = build_segmenter(from_scratch, len(images.classes), recipe.seed)

    def loss(output: torch.Tensor | SegmenterOutput, target: torch.Tensor) -> torch.Tensor:
        logits, auxiliary = output if isinstance(output, SegmenterOutput) else (output, None)
        total = nn.functional.cross_entropy(logits, target, ignore_index=IGNORE)
        if auxiliary is None:
            return total
        return total + 0.5 * nn.functional.cross_entropy(auxiliary, target, ignore_index=IGNORE)

    return _plain_loop(network, _MaskFiles(images, recipe), loss, recipe, device)


def _plain_loop(
    network: nn.Module,
    files: torch.utils.data.Dataset[Any],
    loss_of: Callable[[Any, torch.Tensor], torch.Tensor],
    recipe: Recipe | SegmentationRecipe,
    device: torch.device,
) -> Iterator[int]:
    from torch.utils.data import DataLoader

    network.to(device)
    optimizer = build_optimizer(recipe.optimizer, network)
    batch_size = min(recipe.batch_size, len(files))  # type: ignore[arg-type]  # without a whole batch nothing would come
    loader = DataLoader(files, batch_size=batch_size, shuffle=True, num_workers=torch.get_num_threads(), drop_last=True)
    for _ in itertools.count():
        for pixels, target in loader:
            loss = loss_of(network(pixels.to(device)), target.to(device))
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


class _MaskFiles(torch.utils.data.Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """The training images and masks, one at a time, through torchvision's transforms, with the recipe's crop."""

    def __init__(self, images: MaskedSet, recipe: SegmentationRecipe) -> None:
        from torchvision.transforms import v2

        spec = recipe.augmentation
        resize = [] if spec.resize is None else [v2.Resize(spec.resize, antialias=True)]
        crop = [] if spec.size is None else [v2.RandomCrop(spec.size, pad_if_needed=True)]
        flip = [v2.RandomHorizontalFlip(spec.flip)] if spec.flip else []
        self._both = v2.Compose([*resize, *crop, *flip] or [v2.Identity()])
        self._pixels = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.25] * 3)])
        self._reading = recipe.data.reading(images.classes)
        self._samples = [(images.root / sample.image, images.root / sample.mask) for sample in images.train]

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, torch.Tensor]:
        from torchvision import tv_tensors
        from torchvision.datasets.folder import default_loader
        from torchvision.transforms.v2 import functional

        image, mask = self._samples[row]
        pixels, labels = self._both(
            tv_tensors.Image(functional.to_image(default_loader(str(image)))),
            tv_tensors.Mask(decode_mask(mask, self._reading)),
        )
        return self._pixels(pixels), labels.long()
