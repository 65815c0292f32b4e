"""From a recipe and a sample index to everything that a classification run trains with."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn

from snellen.data.augment.pipeline import Augmentation
from snellen.data.cache import Pixels, channel_statistics, load_pixels
from snellen.data.decode import UnreadableImageError
from snellen.data.feed import Feed
from snellen.data.normalization import Normalization, NormalizationSpec, floor_deviation
from snellen.data.sources import DataSpec, ImageSet, Sample, Unreadable
from snellen.data.split import fraction_rows
from snellen.data.unlabelled import UnlabelledSpec
from snellen.engine.budget import epochs_within
from snellen.engine.device import find_device, make_fabric, prepare_process
from snellen.engine.display import per_second
from snellen.engine.ema import build_ema
from snellen.engine.loop import Job
from snellen.engine.optimizer import build_optimizer
from snellen.engine.precision import Measured, Mode, choose
from snellen.errors import UserError
from snellen.models.airnet import AirNet
from snellen.models.classifier import build_classifier
from snellen.models.weights import WeightsReport
from snellen.randomness import derive
from snellen.recipe.schema import AnyRecipe, ImageRecipe, Recipe, seconds
from snellen.tasks.classification import Classification
from snellen.tasks.frozen import FeatureFeed, best_rate, extracted

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
    images = fewer(images, recipe.data.fraction, recipe.seed)
    model, weights = build_classifier(model_spec, len(images.classes), recipe.augmentation.size, recipe.seed)
    say_weights(console, weights)
    images, train_pixels, validation_pixels = decode_images(images, recipe, recipe.data, console)
    if recorded:
        normalization = recorded.normalization
    else:
        normalization = find_normalization(recipe.normalization, weights, train_pixels)
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
    if model_spec.weights is None and not (recorded and recorded.trained):
        whiten(model.backbone, plain)
    model.to(device)
    if recorded:
        mode, measured = recorded.mode, list[Measured]()
    else:
        mode, measured = choose(recipe.hardware, model, next(iter(plain.train(1))).images, _loss_to_time)
    console.print(mode_sentence(mode, measured, device), highlight=False, soft_wrap=True)
    mode.apply(model)
    fabric = make_fabric(device, mode.precision)
    train_feed: Feed | FeatureFeed = feed(train_pixels, images.train, mode.channels_last)
    validation_feed: Feed | FeatureFeed = feed(validation_pixels, images.validation, mode.channels_last)
    if recipe.model.cached:
        train_feed, validation_feed = (
            each if isinstance(each, FeatureFeed) else extracted(model, each, fabric.autocast, console)
            for each in (train_feed, validation_feed)
        )
    rows = snapshot_rows(recipe, len(images.validation))
    task = Classification(path, recipe.loss, validation_feed, recipe.evaluation.flip, rows)
    optimizer = build_optimizer(recipe.optimizer, model)
    ema = build_ema(recipe.ema, model) if recipe.ema else None
    job = Job(path, recipe, task, train_feed, model, optimizer, ema, fabric, mode)
    if recipe.sweep and recorded is None and isinstance(train_feed, FeatureFeed):
        job = _with_rate(job, best_rate(job, train_feed, recipe.sweep, console))
    if recipe.budget and recorded is None:
        job = within_budget(job, seconds(recipe.budget), console)
    return Prepared(job, images, normalization, weights, measured)


def say_weights(console: Console, weights: WeightsReport) -> None:
    """Prints what of the initial weights was loaded, and what was not."""
    if weights.sentence is not None:
        console.print(weights.sentence, highlight=False, markup=False, soft_wrap=True)


def _with_rate(job: Job, rate: float) -> Job:
    optimizer = job.recipe.optimizer.model_copy(update={"lr": rate})
    return dataclasses.replace(job, recipe=job.recipe.model_copy(update={"optimizer": optimizer}))


def within_budget(job: Job, budget: float, console: Console) -> Job:
    """The job with as many epochs as fit into `budget` seconds, timed on a copy of its network."""
    epochs = epochs_within(budget, job.on(copy.deepcopy(job.model)))
    console.print(f"budget {job.recipe.budget}: {epochs} epochs", highlight=False)
    return dataclasses.replace(job, recipe=job.recipe.model_copy(update={"epochs": epochs}))


def decode_images(
    images: ImageSet, recipe: ImageRecipe, spec: DataSpec, console: Console
) -> tuple[ImageSet, Pixels, Pixels]:
    """Pixels of the training and of the validation images; unreadable ones left out where `spec` says so."""
    sides = images.train, images.validation
    loaded = [
        decode_paths([images.root / sample.path for sample in samples], recipe, spec, console) for samples in sides
    ]
    kept = [tuple(samples[row] for row in each.rows) for samples, each in zip(sides, loaded, strict=True)]
    if not kept[0] or not kept[1]:
        raise UserError(f"{images.root}: no readable {'validation' if kept[0] else 'training'} images are left.")
    if len({sample.label for sample in kept[0]}) < 2:
        raise UserError(f"{images.root}: fewer than two classes have readable training images.")
    left_out = (*loaded[0].left_out, *loaded[1].left_out)
    images = dataclasses.replace(images, train=kept[0], validation=kept[1], left_out=left_out)
    return images, loaded[0].pixels, loaded[1].pixels


def fewer(images: ImageSet, fraction: float, seed: int) -> ImageSet:
    """The images with a share of the training images: data.fraction."""
    if fraction == 1:
        return images
    rows = fraction_rows([sample.label for sample in images.train], fraction, seed)
    return dataclasses.replace(images, train=tuple(images.train[row] for row in rows))


@dataclasses.dataclass(frozen=True)
class Decoded:
    """pixels: of the files that can be read. rows: their numbers in the list that was given. left_out: the others."""

    pixels: Pixels
    rows: list[int]
    left_out: tuple[Unreadable, ...]


def decode_paths(
    paths: Sequence[Path], recipe: ImageRecipe, spec: DataSpec | UnlabelledSpec, console: Console
) -> Decoded:
    """Decodes image files. Raises UserError for unreadable ones, unless `spec` says to leave them out."""
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("decoding", total=len(paths))
        pixels, failed = load_pixels(
            paths, cached_side(recipe), spec.cache_mib, lambda done: bar.update(task, completed=done)
        )
    if failed and spec.unreadable == "error":
        raise UserError(_unreadable_message(failed))
    if failed:
        console.print(f"[yellow]note:[/] {len(failed)} unreadable images left out; data.json lists them")
    bad = {error.path for error in failed}
    rows = [row for row, path in enumerate(paths) if path not in bad]
    return Decoded(pixels, rows, tuple(Unreadable(str(error.path), error.reason) for error in failed))


def _unreadable_message(unreadable: Sequence[UnreadableImageError]) -> str:
    lines = [f"{error.path}: {error.reason}" for error in unreadable[:10]]
    if len(unreadable) > 10:
        lines.append(f"… and {len(unreadable) - 10} more")
    return "\n".join([*lines, "To leave such files out and list them: data.unreadable=skip"])


def cached_side(recipe: ImageRecipe) -> int | None:
    """The shorter side in pixels that decoded images are kept at, enough for every crop; None keeps their own size."""
    augmentation, evaluation = recipe.augmentation, recipe.evaluation
    shown = evaluation.resize or evaluation.size
    if augmentation.crop == "resized":
        return max(shown, math.ceil(augmentation.size * 8 / 7))  # 256 px for crops of 224, as is usual
    return None if augmentation.resize is None else max(shown, augmentation.resize)


def find_normalization(spec: NormalizationSpec, weights: WeightsReport, pixels: Pixels) -> Normalization:
    """Mean and deviation as the recipe wants them: given, of the loaded weights, or measured on the training images.

    Raises UserError when the weights' own are wanted and no weights with known ones were loaded.
    """
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


def whiten(backbone: nn.Module, feed: Feed) -> None:
    """Sets the first layer of a backbone that wants it from training images as evaluation shows them."""
    if not isinstance(backbone, AirNet):
        return
    count = min(_WHITENING_IMAGES, len(feed.targets))
    generator = torch.Generator().manual_seed(derive(feed.seed, "whitening"))
    rows = torch.randperm(len(feed.targets), generator=generator)[:count].numpy()
    backbone.whiten(torch.cat([batch.images.cpu() for batch in feed.evaluate(rows)]))


def _loss_to_time(network: nn.Module, images: Tensor) -> Tensor:
    logits: Tensor = network(images)
    return logits.float().logsumexp(1).mean()


def mode_sentence(mode: Mode, measured: list[Measured], device: torch.device) -> str:
    """The mode and how it was chosen, for people."""
    if not measured:
        return f"device {device}, {mode}"
    chosen = next(entry for entry in measured if entry.mode == mode)
    others = ", ".join(
        f"{entry.mode} {per_second(entry.images / entry.seconds)}" for entry in measured if entry is not chosen
    )
    speed = chosen.images / chosen.seconds
    return f"device {device}, {mode}: {per_second(speed)} images/s forward and backward (measured; {others})"


def snapshot_rows(recipe: AnyRecipe, count: int) -> NDArray[np.int64]:
    """Which of `count` scored images features are kept of, sorted, drawn by the recipe's seed."""
    generator = np.random.default_rng(derive(recipe.seed, "snapshots"))
    return np.sort(generator.permutation(count)[: recipe.snapshots.images]).astype(np.int64)
