"""From a recipe and an index of images with masks to everything that a segmentation run trains with."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn

from snellen.data.masks.augment import MaskAugmentation
from snellen.data.masks.cache import DecodedSet, PairPixels, decode_set
from snellen.data.masks.feed import MaskFeed
from snellen.data.masks.sources import MaskedSample, MaskedSet, fewer_masked
from snellen.data.normalization import Normalization
from snellen.engine.device import find_device, make_fabric, prepare_process
from snellen.engine.ema import build_ema
from snellen.engine.loop import Job
from snellen.engine.optimizer import build_optimizer
from snellen.engine.precision import Measured
from snellen.engine.recipe import seconds
from snellen.errors import UserError
from snellen.models.segmenters.build import build_segmenter, check_sizes
from snellen.models.weights import WeightsReport
from snellen.tasks.arithmetic import in_mode, settle_mode
from snellen.tasks.segmentation.losses import class_weights
from snellen.tasks.segmentation.recipe import SegmentationRecipe
from snellen.tasks.segmentation.task import Segmentation
from snellen.tasks.segmentation.tiling import ALIGN, OVERLAP, TILE, plan_tiles
from snellen.tasks.setup import (
    Recorded,
    find_normalization,
    say_notes,
    say_weights,
    snapshot_rows,
    with_depth,
    within_budget,
)
from snellen.words import counted


@dataclasses.dataclass(frozen=True)
class PreparedSegmentation:
    """A job, and what was found out while it was set up. shown: height and width of a validation image."""

    job: Job
    decoded: DecodedSet
    normalization: Normalization
    weights: WeightsReport
    measured: Sequence[Measured]
    shown: tuple[int, int]


def prepare_segmentation(
    path: Path, recipe: SegmentationRecipe, images: MaskedSet, console: Console, recorded: Recorded | None
) -> PreparedSegmentation:
    """Decodes the pairs, builds the network, picks the fastest mode, and fixes the number of epochs.

    path: the run directory; nothing is written to it here. recorded: of the run that is resumed, None for a new one.
    Raises UserError for images, masks, weights or settings that cannot work.
    """
    prepare_process(recipe.hardware, resumed=recorded is not None)
    device = find_device(recipe.hardware)
    trained = recorded is not None and recorded.trained
    spec = recipe.model.model_copy(update={"weights": None}) if trained else recipe.model
    if recorded is None:
        training_files, scored_files = (
            [images.root / sample.image for sample in side] for side in (images.train, images.validation)
        )
        recipe = recipe.model_copy(update={"data": with_depth(recipe.data, training_files, scored_files, console)})
    images = fewer_masked(images, recipe.data.fraction, recipe.seed)
    classes = images.classes.names
    model, weights = build_segmenter(spec, len(classes), recipe.seed)
    say_weights(console, weights)
    if recipe.accumulation > 1 and recipe.loss.whole_batch:
        terms = " and ".join(recipe.loss.whole_batch)
        note = f"accumulation={recipe.accumulation}: {terms} looks at a part of the batch at a time, not at the whole"
        say_notes(console, [note])
    decoded = _decode(images, recipe, console)
    rows = _snapshot_rows(recipe, decoded.images.validation, console)
    if recorded:
        normalization = recorded.normalization
    else:
        normalization = find_normalization(recipe.normalization, weights, decoded.train.images)
    augmentation = MaskAugmentation(recipe.augmentation, recipe.evaluation, normalization, device)

    def feed(pixels: PairPixels, channels_last: bool) -> MaskFeed:
        batches = recipe.batch_size, recipe.drop_last, recipe.seed
        return MaskFeed(pixels, augmentation, *batches, device, channels_last)

    first = next(iter(feed(decoded.train, channels_last=False).train(1))).images
    scored = next(iter(feed(decoded.validation, channels_last=False).evaluate(np.zeros(1, np.int64)))).images
    shown = _sides(scored)
    if max(shown) > TILE:  # scored tile by tile
        shown = plan_tiles(*shown, TILE, OVERLAP, math.lcm(ALIGN, recipe.evaluation.multiple)).size
    check_sizes(model, recipe.model.architecture, [_sides(first), shown])
    model.to(device)
    plain = feed(decoded.train, channels_last=False)
    mode, measured = settle_mode(recipe, model, plain, _loss_to_time, console, recorded)
    recipe = in_mode(recipe, mode)
    mode.apply(model)
    by_class = class_weights(recipe.loss, classes, decoded.train.class_pixels.sum(0)[: len(classes)].numpy())
    task = Segmentation(
        path,
        recipe.loss,
        None if by_class is None else torch.tensor(by_class, dtype=torch.float32),
        len(classes),
        feed(decoded.validation, mode.channels_last),
        recipe.evaluation,
        rows,
    )
    optimizer = build_optimizer(recipe.optimizer, model)
    ema = build_ema(recipe.ema, model) if recipe.ema else None
    fabric = make_fabric(device, mode.precision)
    job = Job(path, recipe, task, feed(decoded.train, mode.channels_last), model, optimizer, ema, fabric, mode)
    if recipe.budget and recorded is None:
        job = within_budget(job, seconds(recipe.budget), console)
    return PreparedSegmentation(job, decoded, normalization, weights, measured, shown)


def _decode(images: MaskedSet, recipe: SegmentationRecipe, console: Console) -> DecodedSet:
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        total = len(images.train) + len(images.validation)
        task = bar.add_task("decoding", total=total)
        decoded = decode_set(
            *(images, recipe.data, recipe.augmentation.resize, recipe.evaluation.resize),
            lambda done: bar.update(task, completed=done),
        )
    if len(decoded.images.train) < 2:
        raise UserError(f"{images.root}: one training image only; wanted at least two.")
    if not decoded.validation.class_pixels[:, :-1].any():
        raise UserError(
            f"{images.root}: no pixel of the validation masks is scored. Ignored: {images.classes.ignored_text}."
        )
    return decoded


def _snapshot_rows(recipe: SegmentationRecipe, samples: Sequence[MaskedSample], console: Console) -> NDArray[np.int64]:
    """Which validation images masks are kept of: those drawn by the seed, and those that the recipe names."""
    drawn = snapshot_rows(recipe, len(samples)).tolist()
    named, absent = [], []
    for name in recipe.snapshots.names:
        found = [row for row, sample in enumerate(samples) if name in _names(sample)]
        if not found and recipe.snapshots.absent == "skip":
            absent.append(name)
        elif not found:
            known = [PurePosixPath(sample.image).stem for sample in samples]
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean '{close[0]}'?" if close else f"There is, for one, '{known[0]}'."
            raise UserError(f"snapshots.names: no validation image is called '{name}'. {hint}")
        named += found
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
    path = PurePosixPath(sample.image)
    return {sample.image, path.name, path.stem}


def _sides(images: Tensor) -> tuple[int, int]:
    return int(images.shape[2]), int(images.shape[3])


def _loss_to_time(network: nn.Module, images: Tensor) -> Tensor:
    output = network(images)
    heads = output if isinstance(output, tuple) else (output,)
    return torch.stack([logits.float().logsumexp(1).mean() for logits in heads]).sum()
