"""From a recipe and labelled images to everything a classification run trains with."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

from snellen.data.augment.pipeline import Augmentation
from snellen.data.disk_cache import DiskCache
from snellen.data.feed import Feed
from snellen.data.listing import ImageSet, Sample
from snellen.data.split import fewer
from snellen.data.store import CacheBudget
from snellen.engine.checkpoint import restore_model
from snellen.engine.loop import Job
from snellen.engine.mode import Mode
from snellen.models.classifier import build_classifier, check_evaluation_size
from snellen.run.writer import RunWriter
from snellen.tasks.arithmetic import Recorded
from snellen.tasks.classification.frozen import FeatureFeed, best_rate, extract_features
from snellen.tasks.classification.recipe import Recipe
from snellen.tasks.classification.record import SAMPLE_COLUMNS, label_cells
from snellen.tasks.classification.task import Classification, Scored
from snellen.tasks.decoding import Decoded, decode_images, whiten
from snellen.tasks.kind import Facts
from snellen.tasks.setup import (
    Prepared,
    begin,
    common_facts,
    in_own_depth,
    leaked_images,
    normalization_of,
    samples_csv,
    say_weights,
    set_up,
    snapshot_rows,
    start_of,
)

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def prepare(
    path: Path, recipe: Recipe, images: ImageSet, console: Console, recorded: Recorded | None
) -> Prepared[Recipe, ImageSet]:
    """Decodes the images, builds the network, picks the fastest mode, and fixes the number of epochs.

    path: the run directory; nothing is written to it here. recorded: of the run that is resumed, None for a new one.
    Raises UserError for images, weights or settings that cannot work.
    """
    writer, device = RunWriter(path), begin(recipe, recorded)
    spec = start_of(recipe.model, recorded)
    recipe = in_own_depth(recipe, images, console, recorded)
    images = fewer(images, [sample.label for sample in images.train], recipe.data.fraction, recipe.seed)
    model, weights = build_classifier(spec, len(images.classes), recipe.augmentation.size, recipe.seed)
    say_weights(console, weights)
    check_evaluation_size(model.backbone, spec, recipe.evaluation.size)
    budget = CacheBudget(recipe.data.cache_mib, disk=DiskCache(recipe.data.disk_cache_mib))
    crops = not recipe.model.cached
    images, train, validation = decode_images(images, recipe, recipe.data, budget, console, crops)
    normalization = normalization_of(recipe, weights, train.pixels, recorded)
    augmentation = Augmentation(recipe.augmentation, normalization, device)

    def feed(decoded: Decoded, samples: Sequence[Sample], channels_last: bool) -> Feed:
        return Feed(
            pixels=decoded.pixels,
            views=decoded.views,
            targets=torch.tensor([sample.label for sample in samples]),
            classes=len(images.classes),
            augmentation=augmentation,
            mix=recipe.mix,
            batch_size=recipe.batch_size,
            drop_last=recipe.drop_last,
            seed=recipe.seed,
            device=device,
            channels_last=channels_last,
        )

    is_trained = recorded is not None and recorded.trained
    plain = feed(train, images.train, channels_last=False)
    if spec.weights is None and not is_trained:
        whiten(model.backbone, plain)
    model.to(device)

    def build(recipe: Recipe, mode: Mode, fabric: Fabric) -> tuple[Classification, Feed | FeatureFeed]:
        trained = feed(train, images.train, mode.channels_last)
        scored = feed(validation, images.validation, mode.channels_last)
        rows = snapshot_rows(recipe, len(images.validation))

        def task(scored: Scored) -> Classification:
            return Classification(
                writer,
                loss=recipe.loss,
                validation=scored,
                flip=recipe.evaluation.flip,
                rows=rows,
                classes=len(images.classes),
            )

        if not recipe.model.cached:
            return task(scored), trained
        if is_trained:  # the features must be those of the run's own backbone
            restore_model(path, model, device)
        features = extract_features(model, trained, fabric.autocast, console)
        return task(extract_features(model, scored, fabric.autocast, console)), features

    def tune(job: Job) -> Job:
        if not recipe.sweep or not isinstance(job.feed, FeatureFeed):
            return job
        groups = [sample.group for sample in images.train]
        rate = best_rate(job, job.feed, groups, recipe.sweep, console)
        return dataclasses.replace(job, recipe=job.recipe.with_part("optimizer", lr=rate))

    job, timings = set_up(writer, recipe, model, plain, _loss_to_time, build, console, recorded, tune)
    size = recipe.evaluation.size
    return Prepared(
        job=job,
        recipe=recipe,
        images=images,
        normalization=normalization,
        weights=weights,
        timings=timings,
        input_size=(size, size),
    )


def facts(prepared: Prepared[Recipe, ImageSet], source: str, console: Console) -> Facts:
    """The run's data.json and samples.csv."""
    images, count = prepared.images, len(prepared.images.classes)
    labels = {name: [sample.label for sample in samples] for name, samples in images.parts.items()}
    data = {
        **common_facts(images, images.validation, source, prepared.normalization),
        "classes": list(images.classes),
        "counts": {name: len(values) for name, values in labels.items()},
        "per_class": {name: np.bincount(values, minlength=count).tolist() for name, values in labels.items()},
        "split": images.split,
        "leaked": leaked_images(images, console),
    }
    return Facts(samples_csv(images.parts, SAMPLE_COLUMNS, lambda sample: label_cells(sample, images.classes)), data)


def plain_loop(prepared: Prepared[Recipe, ImageSet]) -> Iterator[int]:
    """See tasks.classification.plain."""
    from snellen.tasks.classification.plain import plain_steps

    return plain_steps(prepared.recipe, prepared.images, prepared.job.feed.device)


def _loss_to_time(network: nn.Module, images: Tensor) -> Tensor:
    logits: Tensor = network(images)
    return logits.float().logsumexp(1).mean()
