"""TODO."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console

from snellen.data.augment.pipeline import Augmentation
from snellen.data.feed import Feed
from snellen.data.listing import ImageSet, Sample
from snellen.data.normalization import Normalization
from snellen.data.store import CacheBudget
from snellen.engine.checkpoint import restore_model
from snellen.engine.device import find_device, make_fabric, prepare_process
from snellen.engine.ema import build_ema
from snellen.engine.loop import Job
from snellen.engine.optimizer import build_optimizer
from snellen.engine.precision import Measured
from snellen.engine.recipe import seconds
from snellen.models.classifier import build_classifier, check_evaluation_size
from snellen.models.weights import WeightsReport
from snellen.tasks.arithmetic import in_mode, settle_mode
from snellen.tasks.classification.frozen import FeatureFeed, best_rate, extracted
from snellen.tasks.classification.recipe import Recipe
from snellen.tasks.classification.task import Classification
from snellen.tasks.setup import (
    Decoded,
    Recorded,
    _loss_to_time,
    decode_images,
    fewer,
    find_normalization,
    say_weights,
    snapshot_rows,
    whiten,
    with_depth,
    within_budget,
)


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A job, and what was found out while it was set up."""

    job: Job
    images: ImageSet
    normalization: Normalization
    weights: WeightsReport
    measured: Sequence[Measured]


def prepare(path: Path, recipe: Recipe, images: ImageSet, console: Console, recorded: Recorded | None) -> Prepared:
    """Decodes the images, builds the network, picks the fastest mode, and fixes the number of epochs.

    path: the run directory; nothing is written to it here. recorded: of the run that is resumed, None for a new one.
    Raises UserError for images, weights or settings that cannot work.
    """
    prepare_process(recipe.hardware, resumed=recorded is not None)
    device = find_device(recipe.hardware)
    model_spec = recipe.model.model_copy(update={"weights": None}) if recorded and recorded.trained else recipe.model
    if recorded is None:
        training_files, scored_files = (
            [images.root / sample.path for sample in side] for side in (images.train, images.validation)
        )
        recipe = recipe.model_copy(update={"data": with_depth(recipe.data, training_files, scored_files, console)})
    images = fewer(images, recipe.data.fraction, recipe.seed)
    model, weights = build_classifier(model_spec, len(images.classes), recipe.augmentation.size, recipe.seed)
    say_weights(console, weights)
    check_evaluation_size(model.backbone, model_spec, recipe.evaluation.size)
    budget, crops = CacheBudget(recipe.data.cache_mib), not recipe.model.cached
    images, train, validation = decode_images(images, recipe, recipe.data, budget, console, crops)
    if recorded:
        normalization = recorded.normalization
    else:
        normalization = find_normalization(recipe.normalization, weights, train.pixels)
    augmentation = Augmentation(recipe.augmentation, normalization, device)

    def feed(decoded: Decoded, samples: Sequence[Sample], channels_last: bool) -> Feed:
        return Feed(
            decoded.pixels,
            decoded.views,
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

    plain = feed(train, images.train, channels_last=False)
    if model_spec.weights is None and not (recorded and recorded.trained):
        whiten(model.backbone, plain)
    model.to(device)
    mode, measured = settle_mode(recipe, model, plain, _loss_to_time, console, recorded)
    recipe = in_mode(recipe, mode)
    mode.apply(model)
    fabric = make_fabric(device, mode.precision)
    train_feed: Feed | FeatureFeed = feed(train, images.train, mode.channels_last)
    validation_feed: Feed | FeatureFeed = feed(validation, images.validation, mode.channels_last)
    if recipe.model.cached:
        if recorded and recorded.trained:  # the features are the run's own backbone's, not those of a new one
            restore_model(path, model, device)
        train_feed, validation_feed = (
            each if isinstance(each, FeatureFeed) else extracted(model, each, fabric.autocast, console)
            for each in (train_feed, validation_feed)
        )
    rows = snapshot_rows(recipe, len(images.validation))
    task = Classification(path, recipe.loss, validation_feed, recipe.evaluation.flip, rows, len(images.classes))
    optimizer = build_optimizer(recipe.optimizer, model)
    ema = build_ema(recipe.ema, model) if recipe.ema else None
    job = Job(path, recipe, task, train_feed, model, optimizer, ema, fabric, mode)
    if recipe.sweep and recorded is None and isinstance(train_feed, FeatureFeed):
        groups = [sample.group for sample in images.train]
        job = _with_rate(job, best_rate(job, train_feed, groups, recipe.sweep, console))
    if recipe.budget and recorded is None:
        job = within_budget(job, seconds(recipe.budget), console)
    return Prepared(job, images, normalization, weights, measured)


def _with_rate(job: Job, rate: float) -> Job:
    optimizer = job.recipe.optimizer.model_copy(update={"lr": rate})
    return dataclasses.replace(job, recipe=job.recipe.model_copy(update={"optimizer": optimizer}))
