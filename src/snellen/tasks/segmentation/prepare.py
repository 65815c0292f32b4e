"""From a recipe and images with masks to everything a segmentation run trains with."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn

from snellen.data.masks.augment import MaskAugmentation
from snellen.data.masks.cache import DecodedSet, PairPixels, decode_set
from snellen.data.masks.feed import MaskFeed
from snellen.data.masks.sources import MaskedSample, MaskedSet
from snellen.data.split import fewer
from snellen.engine.mode import Mode
from snellen.errors import UserError
from snellen.models.segmenters.build import build_segmenter, check_sizes
from snellen.run.writer import RunWriter
from snellen.tasks.arithmetic import Recorded
from snellen.tasks.kind import Facts
from snellen.tasks.segmentation.losses import class_weights
from snellen.tasks.segmentation.recipe import SegmentationRecipe
from snellen.tasks.segmentation.record import SAMPLE_COLUMNS
from snellen.tasks.segmentation.task import Segmentation
from snellen.tasks.segmentation.tiling import ALIGN, OVERLAP, TILE, plan_tiles
from snellen.tasks.setup import (
    Prepared,
    begin,
    common_facts,
    in_own_depth,
    leaked_images,
    normalization_of,
    samples_csv,
    say_notes,
    say_weights,
    set_up,
    snapshot_rows,
    start_of,
)
from snellen.words import counted, did_you_mean

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def prepare(
    path: Path, recipe: SegmentationRecipe, images: MaskedSet, console: Console, recorded: Recorded | None
) -> Prepared[SegmentationRecipe, DecodedSet]:
    """Decodes the pairs, builds the network, picks the fastest mode, and fixes the number of epochs.

    path: the run directory; nothing is written to it here. recorded: of the run that is resumed, None for a new one.
    Raises UserError for images, masks, weights or settings that cannot work.
    """
    writer, device = RunWriter(path), begin(recipe, recorded)
    recipe = in_own_depth(recipe, images, console, recorded)
    images = fewer(images, [0] * len(images.train), recipe.data.fraction, recipe.seed)
    classes = images.classes.names
    model, weights = build_segmenter(start_of(recipe.model, recorded), len(classes), recipe.seed)
    say_weights(console, weights)
    say_notes(console, _accumulation_notes(recipe))
    decoded = _decode(images, recipe, console)
    normalization = normalization_of(recipe, weights, decoded.train.images, recorded)
    augmentation = MaskAugmentation(recipe.augmentation, recipe.evaluation, normalization, device)

    def feed(pixels: PairPixels, channels_last: bool) -> MaskFeed:
        return MaskFeed(
            pixels=pixels,
            augmentation=augmentation,
            batch_size=recipe.batch_size,
            drop_last=recipe.drop_last,
            seed=recipe.seed,
            device=device,
            channels_last=channels_last,
        )

    plain = feed(decoded.train, channels_last=False)
    first = next(iter(plain.train(1))).images
    input_size = _scored_size(feed(decoded.validation, channels_last=False), recipe)
    check_sizes(model, recipe.model.architecture, [_size(first), input_size])
    model.to(device)
    rows = _snapshot_rows(recipe, decoded.images.validation, console)

    def build(recipe: SegmentationRecipe, mode: Mode, fabric: Fabric) -> tuple[Segmentation, MaskFeed]:
        weights = class_weights(recipe.loss, classes, decoded.train.class_pixels.sum(0)[: len(classes)].numpy())
        task = Segmentation(
            writer,
            loss=recipe.loss,
            weights=None if weights is None else torch.tensor(weights, dtype=torch.float32),
            classes=len(classes),
            validation=feed(decoded.validation, mode.channels_last),
            evaluation=recipe.evaluation,
            rows=rows,
        )
        return task, feed(decoded.train, mode.channels_last)

    job, timings = set_up(writer, recipe, model, plain, _loss_to_time, build, console, recorded)
    return Prepared(
        job=job,
        recipe=recipe,
        images=decoded,
        normalization=normalization,
        weights=weights,
        timings=timings,
        input_size=input_size,
    )


def facts(prepared: Prepared[SegmentationRecipe, DecodedSet], source: str, console: Console) -> Facts:
    """The run's data.json and samples.csv; prints the notes from decoding."""
    decoded = prepared.images
    say_notes(console, decoded.notes)
    images = decoded.images
    pixels = {"train": decoded.train.class_pixels, "validation": decoded.validation.class_pixels}
    data = {
        **common_facts(images, images.validation, source, prepared.normalization),
        **images.classes.as_dict(),
        "counts": {name: len(samples) for name, samples in images.parts.items()},
        "per_class_pixels": {part: counts.sum(0)[:-1].tolist() for part, counts in pixels.items()},
        "ignored_pixels": {part: int(counts[:, -1].sum()) for part, counts in pixels.items()},
        "training_sizes": dataclasses.asdict(decoded.training),
        "split": images.split,
        "leaked": leaked_images(images, console),
        "notes": [*images.notes, *decoded.notes],
    }
    return Facts(samples_csv(images.parts, SAMPLE_COLUMNS, lambda sample: (sample.mask,)), data)


def plain_loop(prepared: Prepared[SegmentationRecipe, DecodedSet]) -> Iterator[int]:
    """See tasks.segmentation.plain."""
    from snellen.tasks.segmentation.plain import plain_steps

    return plain_steps(prepared.recipe, prepared.images.images, prepared.job.feed.device)


def _accumulation_notes(recipe: SegmentationRecipe) -> list[str]:
    if recipe.accumulation == 1 or not recipe.loss.whole_batch:
        return []
    terms = " and ".join(recipe.loss.whole_batch)
    return [f"accumulation={recipe.accumulation}: {terms} is computed on each part of the batch, not on the whole"]


def _scored_size(feed: MaskFeed, recipe: SegmentationRecipe) -> tuple[int, int]:
    """Height and width of a validation image as the network sees it."""
    size = _size(next(iter(feed.evaluate(np.zeros(1, np.int64)))).images)
    if max(size) <= TILE:
        return size
    return plan_tiles(*size, TILE, OVERLAP, math.lcm(ALIGN, recipe.evaluation.multiple)).size  # scored tile by tile


def _decode(images: MaskedSet, recipe: SegmentationRecipe, console: Console) -> DecodedSet:
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        total = len(images.train) + len(images.validation)
        task = bar.add_task("decoding", total=total)
        decoded = decode_set(
            images,
            recipe.data,
            recipe.augmentation.resize,
            recipe.evaluation.resize,
            lambda done: bar.update(task, completed=done),
        )
    if len(decoded.images.train) < 2:
        raise UserError(f"{images.root}: only one training image; expected at least two.")
    if not decoded.validation.class_pixels[:, :-1].any():
        raise UserError(
            f"{images.root}: no pixel of the validation masks is scored. Ignored: {images.classes.ignored_text}."
        )
    return decoded


def _snapshot_rows(recipe: SegmentationRecipe, samples: Sequence[MaskedSample], console: Console) -> NDArray[np.int64]:
    """Indices of the validation images in snapshots: those drawn by the seed, and those that the recipe names."""
    drawn = snapshot_rows(recipe, len(samples)).tolist()
    named, absent = [], []
    for name in recipe.snapshots.names:
        rows = [row for row, sample in enumerate(samples) if name in _names(sample)]
        if not rows and recipe.snapshots.absent == "skip":
            absent.append(name)
        elif not rows:
            stems = [PurePosixPath(sample.path).stem for sample in samples]
            hint = did_you_mean(name, stems) or f" One of the images is '{stems[0]}'."
            raise UserError(f"snapshots.names: no validation image is called '{name}'.{hint}")
        named += rows
    if absent:
        names = ", ".join(absent)
        say_notes(
            console,
            [
                f"snapshots.names: no validation image is called {names}; "
                f"{counted(len(drawn), 'other is drawn', 'others are drawn')}"
            ],
        )
    return np.array(sorted({*drawn, *named}), dtype=np.int64)


def _names(sample: MaskedSample) -> set[str]:
    path = PurePosixPath(sample.path)
    return {sample.path, path.name, path.stem}


def _size(images: Tensor) -> tuple[int, int]:
    return int(images.shape[2]), int(images.shape[3])


def _loss_to_time(network: nn.Module, images: Tensor) -> Tensor:
    output = network(images)
    heads = output if isinstance(output, tuple) else (output,)
    return torch.stack([logits.float().logsumexp(1).mean() for logits in heads]).sum()
