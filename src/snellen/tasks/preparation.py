"""From a recipe and a sample index to everything that a classification run trains with."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn

from snellen.data.augment.pipeline import Augmentation
from snellen.data.cache import Pixels, channel_statistics, load_pixels
from snellen.data.decode import UnreadableImageError
from snellen.data.feed import Feed
from snellen.data.normalization import Normalization, NormalizationSpec, floor_deviation
from snellen.data.sources import ImageSet, Sample, Unreadable
from snellen.engine.budget import epochs_within
from snellen.engine.device import find_device, make_fabric, prepare_process
from snellen.engine.ema import build_ema
from snellen.engine.loop import Job
from snellen.engine.optimizer import build_optimizer
from snellen.engine.precision import Measured, Mode, candidates, fastest, measure
from snellen.errors import UserError
from snellen.models.classifier import Classifier, build_classifier
from snellen.models.weights import WeightsReport
from snellen.randomness import derive
from snellen.recipe.schema import Recipe, seconds
from snellen.tasks.classification import Classification

_WHITENING_IMAGES = 5000


@dataclasses.dataclass(frozen=True)
class Recorded:
    """What a run settled when it started, and keeps when it is resumed."""

    mode: Mode
    normalization: Normalization
    trained: bool  # whether there is a checkpoint, so that initial weights are not needed


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A job, and what was found out while it was set up."""

    job: Job
    images: ImageSet
    normalization: Normalization
    weights: WeightsReport
    measured: list[Measured]


def prepare(path: Path, recipe: Recipe, images: ImageSet, console: Console, recorded: Recorded | None) -> Prepared:
    """Decodes the images, builds the network, picks the fastest mode, and fixes the number of epochs.

    path: the run directory; nothing is written to it here. recorded: of the run that is resumed, None for a new one.
    Raises UserError for images, weights or settings that cannot work.
    """
    prepare_process(recipe.hardware)
    device = find_device(recipe.hardware)
    model_spec = recipe.model.model_copy(update={"weights": None}) if recorded and recorded.trained else recipe.model
    model, weights = build_classifier(model_spec, len(images.classes), recipe.augmentation.size, recipe.seed)
    images, train_pixels, validation_pixels = decode_images(images, recipe, console)
    if recorded:
        normalization = recorded.normalization
    else:
        normalization = _normalization(recipe.normalization, weights, train_pixels)
    augmentation = Augmentation(recipe.augmentation, recipe.evaluation, normalization, device)

    def feed(pixels: Pixels, samples: Sequence[Sample], channels_last: bool) -> Feed:
        return Feed(
            pixels,
            torch.tensor([sample.label for sample in samples]),
            len(images.classes),
            augmentation,
            recipe.mix,
            recipe.batch_size,
            recipe.drop_last,
            recipe.seed,
            device,
            channels_last,
        )

    plain = feed(train_pixels, images.train, channels_last=False)
    whiten = getattr(model.backbone, "whiten", None)
    if whiten is not None and model_spec.weights is None and not (recorded and recorded.trained):
        whiten(_as_scored(plain))
    model.to(device)
    mode, measured = (recorded.mode, []) if recorded else _choose_mode(recipe, model, plain)
    console.print(_mode_sentence(mode, measured, device), highlight=False, soft_wrap=True)
    model.to(memory_format=mode.memory_format)
    task = Classification(
        path,
        recipe.loss,
        feed(validation_pixels, images.validation, mode.channels_last),
        recipe.evaluation.flip,
        _snapshot_rows(recipe, len(images.validation)),
    )
    train_feed = feed(train_pixels, images.train, mode.channels_last)

    optimizer = build_optimizer(recipe.optimizer, model)
    ema = build_ema(recipe.ema, model) if recipe.ema else None
    fabric = make_fabric(device, mode.precision)
    job = Job(path, recipe, task, train_feed, model, optimizer, ema, fabric, mode)
    if recipe.budget and recorded is None:
        epochs = epochs_within(seconds(recipe.budget), job.on(copy.deepcopy(model)))
        console.print(f"budget {recipe.budget}: {epochs} epochs", highlight=False)
        job = dataclasses.replace(job, recipe=recipe.model_copy(update={"epochs": epochs}))
    return Prepared(job, images, normalization, weights, measured)


def decode_images(images: ImageSet, recipe: Recipe, console: Console) -> tuple[ImageSet, Pixels, Pixels]:
    """Pixels of the training and of the validation images; unreadable ones left out where the recipe says so."""
    side = cached_side(recipe)
    kept: list[tuple[Sample, ...]] = []
    pixels: list[Pixels] = []
    unreadable: list[UnreadableImageError] = []
    for samples in (images.train, images.validation):
        paths = [images.root / sample.path for sample in samples]
        loaded, failed = _load(paths, side, recipe.data.cache_mib, console)
        bad = {error.path for error in failed}
        kept.append(tuple(sample for sample, path in zip(samples, paths, strict=True) if path not in bad))
        pixels.append(loaded)
        unreadable += failed
    if unreadable and recipe.data.unreadable == "error":
        raise UserError(_unreadable_message(unreadable))
    if unreadable:
        console.print(f"[yellow]note:[/] {len(unreadable)} unreadable images left out; data.json lists them")
    if not kept[0] or not kept[1]:
        raise UserError(f"{images.root}: no readable {'validation' if kept[0] else 'training'} images are left.")
    if len({sample.label for sample in kept[0]}) < 2:
        raise UserError(f"{images.root}: fewer than two classes have readable training images.")
    left_out = tuple(Unreadable(str(error.path), error.reason) for error in unreadable)
    return dataclasses.replace(images, train=kept[0], validation=kept[1], left_out=left_out), pixels[0], pixels[1]


def _load(
    paths: Sequence[Path], side: int | None, limit_mib: int, console: Console
) -> tuple[Pixels, list[UnreadableImageError]]:
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("decoding", total=len(paths))
        return load_pixels(paths, side, limit_mib, lambda done: bar.update(task, completed=done))


def _unreadable_message(unreadable: Sequence[UnreadableImageError]) -> str:
    lines = [f"{error.path}: {error.reason}" for error in unreadable[:10]]
    if len(unreadable) > 10:
        lines.append(f"… and {len(unreadable) - 10} more")
    return "\n".join([*lines, "To leave such files out and list them: data.unreadable=skip"])


def cached_side(recipe: Recipe) -> int | None:
    """The shorter side in pixels that decoded images are kept at, enough for every crop; None keeps their own size."""
    augmentation, evaluation = recipe.augmentation, recipe.evaluation
    shown = evaluation.resize or evaluation.size
    if augmentation.crop == "resized":
        return max(shown, math.ceil(augmentation.size * 8 / 7))  # 256 px for crops of 224, as is usual
    return None if augmentation.resize is None else max(shown, augmentation.resize)


def _normalization(spec: NormalizationSpec, weights: WeightsReport, pixels: Pixels) -> Normalization:
    if spec.source == "given":
        return Normalization(spec.mean, floor_deviation(spec.std), "given by the recipe")
    if spec.source == "backbone" and weights.normalization is None:
        raise UserError(
            "normalization.source=backbone: no weights with a known normalisation were loaded. "
            "Use normalization.source=data, or give normalization.mean and normalization.std with source=given."
        )
    if spec.source != "data" and weights.normalization is not None:
        return weights.normalization
    mean, std = channel_statistics(pixels)
    return Normalization(mean, floor_deviation(std), "measured on the training images")


def _as_scored(feed: Feed) -> Tensor:
    """(n, 3, S, S) training images as evaluation shows them."""
    count = min(_WHITENING_IMAGES, len(feed.targets))
    generator = torch.Generator().manual_seed(derive(feed.seed, "whitening"))
    rows = torch.randperm(len(feed.targets), generator=generator)[:count].numpy()
    return torch.cat([batch.images.cpu() for batch in feed.evaluate(rows)])


def _choose_mode(recipe: Recipe, model: Classifier, feed: Feed) -> tuple[Mode, list[Measured]]:
    modes = candidates(recipe.hardware, feed.device)
    if len(modes) == 1:
        return modes[0], []
    images = next(iter(feed.train(1))).images

    def loss(network: nn.Module, images: Tensor) -> Tensor:
        logits: Tensor = network(images)
        return logits.float().logsumexp(1).mean()

    measured = measure(modes, model, images, loss)
    return fastest(measured), measured


def _mode_sentence(mode: Mode, measured: list[Measured], device: torch.device) -> str:
    if not measured:
        return f"device {device}, {mode}"
    chosen = next(entry for entry in measured if entry.mode == mode)
    others = ", ".join(f"{entry.mode} {entry.images / entry.seconds:.0f}" for entry in measured if entry is not chosen)
    speed = chosen.images / chosen.seconds
    return f"device {device}, {mode}: {speed:.0f} images/s forward and backward (measured; {others})"


def _snapshot_rows(recipe: Recipe, count: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    generator = np.random.default_rng(derive(recipe.seed, "snapshots"))
    return np.sort(generator.permutation(count)[: recipe.snapshots.images]).astype(np.int64)
