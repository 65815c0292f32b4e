"""From a recipe and a sample index to everything that a classification run trains with."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from torch import Tensor, nn

from snellen.data.augment.pipeline import evaluation_view, stored_image
from snellen.data.cache import Pixels, channel_statistics, load_pixels
from snellen.data.decode import UnreadableImageError, decode
from snellen.data.depth import settle_bits
from snellen.data.feed import Feed
from snellen.data.listing import DataSpec, ImageSet, Unreadable
from snellen.data.masks.sources import MaskDataSpec
from snellen.data.normalization import Normalization, NormalizationSpec, floor_deviation
from snellen.data.split import fraction_rows
from snellen.data.store import CacheBudget, PixelStore
from snellen.data.unlabelled import UnlabelledSpec
from snellen.engine.budget import epochs_within
from snellen.engine.loop import Job
from snellen.engine.out_of_memory import memory_explained
from snellen.engine.precision import Mode
from snellen.errors import UserError
from snellen.models.airnet import AirNet
from snellen.models.weights import WeightsReport
from snellen.randomness import derive
from snellen.recipe.schema import AnyRecipe, ImageRecipe
from snellen.words import counted

_WHITENING_IMAGES = 5000
DataOf = TypeVar("DataOf", DataSpec, UnlabelledSpec, MaskDataSpec)


@dataclasses.dataclass(frozen=True)
class Recorded:
    """What a run settled when it started, and keeps when it is resumed."""

    mode: Mode
    normalization: Normalization
    trained: bool  # whether there is a checkpoint, so that initial weights are not needed
    device: str
    threads: int


def say_notes(console: Console, notes: Sequence[str]) -> None:
    """Prints what a person should know of a run's settings."""
    for note in notes:
        console.print(f"[yellow]note:[/] {escape(note)}", highlight=False, soft_wrap=True)


def say_weights(console: Console, weights: WeightsReport) -> None:
    """Prints what of the initial weights was loaded, and what was not."""
    if weights.sentence is not None:
        console.print(weights.sentence, highlight=False, markup=False, soft_wrap=True)


def within_budget(job: Job, budget: float, console: Console) -> Job:
    """The job with as many epochs as fit into `budget` seconds, timed on a copy of its network."""
    with memory_explained(job.recipe, job.feed.device):
        epochs = epochs_within(budget, job.on(copy.deepcopy(job.model)))
    console.print(f"budget {job.recipe.budget}: {counted(epochs, 'epoch')}", highlight=False)
    return dataclasses.replace(job, recipe=job.recipe.model_copy(update={"epochs": epochs}))


def decode_images(
    images: ImageSet, recipe: ImageRecipe, spec: DataSpec, budget: CacheBudget, console: Console, crops: bool
) -> tuple[ImageSet, Decoded, Decoded]:
    """Pixels of the training and of the validation images; unreadable ones left out where `spec` says so.

    budget: of the memory for them. crops: whether training images are augmented, or are only ever seen as evaluation
    shows them.
    """
    sides = images.train, images.validation
    loaded = [
        decode_paths(
            [images.root / sample.path for sample in samples], recipe, spec, budget, console, crops and not number
        )
        for number, samples in enumerate(sides)
    ]
    kept = [tuple(samples[row] for row in each.rows) for samples, each in zip(sides, loaded, strict=True)]
    if not kept[0] or not kept[1]:
        raise UserError(f"{images.root}: no readable {'validation' if kept[0] else 'training'} images are left.")
    if len({sample.label for sample in kept[0]}) < 2:
        raise UserError(f"{images.root}: fewer than two classes have readable training images.")
    left_out = (*loaded[0].left_out, *loaded[1].left_out)
    images = dataclasses.replace(images, train=kept[0], validation=kept[1], left_out=left_out)
    return images, loaded[0], loaded[1]


def with_depth(spec: DataOf, training: Sequence[Path], scored: Sequence[Path], console: Console) -> DataOf:
    """`spec` with the bits of the training images of 16 bits measured, and said; without such images as it is.

    scored: images that are said to exceed that scale where they do.
    """
    with console.status("reading the values of 16-bit images"):
        bits, notes = settle_bits(spec.bits, training, scored)
    say_notes(console, notes)
    return spec.model_copy(update={"bits": bits})


def fewer(images: ImageSet, fraction: float, seed: int) -> ImageSet:
    """The images with a share of the training images: data.fraction."""
    if fraction == 1:
        return images
    labels, groups = [sample.label for sample in images.train], [sample.group for sample in images.train]
    rows = fraction_rows(labels, fraction, seed, groups)
    return dataclasses.replace(images, train=tuple(images.train[row] for row in rows))


@dataclasses.dataclass(frozen=True)
class Decoded:
    """pixels: of the files that can be read, for crops. views: the same as evaluation sees them.

    Where crops are made, views are read from the files again when they are wanted. rows: numbers of the files in the
    list that was given. left_out: the others.
    """

    pixels: Pixels
    views: Pixels
    rows: list[int]
    left_out: tuple[Unreadable, ...]


def decode_paths(
    paths: Sequence[Path],
    recipe: ImageRecipe,
    spec: DataSpec | UnlabelledSpec,
    budget: CacheBudget,
    console: Console,
    crops: bool,
) -> Decoded:
    """Decodes image files, for crops or as evaluation sees them.

    Raises UserError for unreadable ones, unless `spec` says to leave them out.
    """
    augmentation, evaluation = recipe.augmentation, recipe.evaluation

    def stored(path: Path) -> Tensor:
        return stored_image(decode(path, enough=augmentation.stored_side, bits=spec.bits), augmentation)

    def view(path: Path) -> Tensor:
        return evaluation_view(decode(path, bits=spec.bits), evaluation)

    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("decoding", total=len(paths))
        pixels, failed = load_pixels(
            paths, stored if crops else view, budget, lambda done: bar.update(task, completed=done)
        )
    if failed and spec.unreadable == "error":
        raise UserError(_unreadable_message(failed))
    if failed:
        console.print(f"[yellow]note:[/] {counted(len(failed), 'unreadable image')} left out, listed in data.json")
    bad = {error.path for error in failed}
    rows = [row for row, path in enumerate(paths) if path not in bad]
    left_out = tuple(Unreadable(str(error.path), error.reason) for error in failed)
    if not crops:
        return Decoded(pixels, pixels, rows, left_out)
    readable = [paths[row] for row in rows]
    whole = augmentation.stored_side is None  # what is kept is the whole image: no file has to be read again
    views = Pixels(
        lambda row: evaluation_view(pixels.image(row), evaluation) if whole else view(readable[row]),
        [None] * len(readable),
        PixelStore(budget),
        budget=budget.part(spec.cache_mib // 4),
    )
    return Decoded(pixels, views, rows, left_out)


def _unreadable_message(unreadable: Sequence[UnreadableImageError]) -> str:
    lines = [f"{error.path}: {error.reason}" for error in unreadable[:10]]
    if len(unreadable) > 10:
        lines.append(f"… and {len(unreadable) - 10} more")
    return "\n".join([*lines, "To leave such files out and list them: data.unreadable=skip"])


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
    backbone.whiten(batch.images.cpu() for batch in feed.evaluate(rows))


def _loss_to_time(network: nn.Module, images: Tensor) -> Tensor:
    logits: Tensor = network(images)
    return logits.float().logsumexp(1).mean()


def snapshot_rows(recipe: AnyRecipe, count: int) -> NDArray[np.int64]:
    """Which of `count` scored images features are kept of, sorted, drawn by the recipe's seed."""
    generator = np.random.default_rng(derive(recipe.seed, "snapshots"))
    return np.sort(generator.permutation(count)[: recipe.snapshots.images]).astype(np.int64)
