"""From a recipe and a folder of images to everything that a pretraining run trains with."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

from snellen.data.augment.pipeline import Augmentation
from snellen.data.augment.spec import MixSpec
from snellen.data.feed import Feed
from snellen.data.listing import ImageSet, Sample
from snellen.data.normalization import Normalization
from snellen.data.sources import read_images
from snellen.data.store import CacheBudget
from snellen.data.unlabelled import UnlabelledSet
from snellen.data.views import ViewFeed
from snellen.engine.device import find_device, make_fabric, prepare_process
from snellen.engine.loop import Job
from snellen.engine.optimizer import build_optimizer
from snellen.engine.precision import Measured
from snellen.engine.recipe import seconds
from snellen.errors import UserError
from snellen.models.classifier import check_evaluation_size, start_backbone
from snellen.models.spec import BackboneSpec
from snellen.models.weights import WeightsReport
from snellen.randomness import derive
from snellen.tasks.arithmetic import in_mode, settle_mode
from snellen.tasks.pretraining.methods.build import build_method
from snellen.tasks.pretraining.methods.method import Method
from snellen.tasks.pretraining.methods.spec import MocoSpec
from snellen.tasks.pretraining.recipe import PretrainingRecipe
from snellen.tasks.pretraining.task import Labelled, Pretraining
from snellen.tasks.setup import (
    Decoded,
    Recorded,
    decode_images,
    decode_paths,
    fewer,
    find_normalization,
    say_notes,
    say_weights,
    snapshot_rows,
    whiten,
    with_depth,
    within_budget,
)


@dataclasses.dataclass(frozen=True)
class PreparedPretraining:
    """A job, and what was found out while it was set up. labelled: None where no labelled set was given."""

    job: Job
    method: Method
    images: UnlabelledSet
    labelled: ImageSet | None
    normalization: Normalization
    weights: WeightsReport
    measured: Sequence[Measured]


def prepare_pretraining(
    path: Path, recipe: PretrainingRecipe, images: UnlabelledSet, console: Console, recorded: Recorded | None
) -> PreparedPretraining:
    """Decodes the images, builds the networks, picks the fastest mode, and fixes the number of epochs.

    path: the run directory; nothing is written to it here. recorded: of the run that is resumed, None for a new one.
    Raises UserError for images, weights or settings that cannot work.
    """
    prepare_process(recipe.hardware, resumed=recorded is not None)
    device = find_device(recipe.hardware)
    trained = recorded is not None and recorded.trained
    spec = recipe.model.model_copy(update={"weights": None}) if trained else recipe.model
    backbone, width, weights = _start_backbone(spec, recipe)
    say_weights(console, weights)
    check_evaluation_size(backbone, spec, recipe.evaluation.size)
    say_notes(console, _method_notes(recipe, len(images.paths)))
    labelled = None if recipe.evaluation.data is None else read_images(recipe.evaluation.data, recipe.labelled)

    if recorded is None:
        data = with_depth(recipe.data, [images.root / name for name in images.paths], (), console)
        scale = recipe.labelled.bits or data.bits  # one scale for what is learnt from and what it is scored on
        labelled_spec = recipe.labelled.model_copy(update={"bits": scale})
        if labelled is not None:
            training_files, scored_files = (
                [labelled.root / s.path for s in side] for side in (labelled.train, labelled.validation)
            )
            labelled_spec = with_depth(labelled_spec, training_files, scored_files, console)
        recipe = recipe.model_copy(update={"data": data, "labelled": labelled_spec})
    budget = CacheBudget(recipe.data.cache_mib)  # the labelled images share it
    paths = [images.root / name for name in images.paths]
    decoded = decode_paths(paths, recipe, recipe.data, budget, console, crops=True)
    images = dataclasses.replace(
        images, paths=tuple(images.paths[row] for row in decoded.rows), left_out=decoded.left_out
    )
    if len(images.paths) < 2:
        raise UserError(f"{images.root}: fewer than two of its images can be read.")
    if recorded:
        normalization = recorded.normalization
    else:
        normalization = find_normalization(recipe.normalization, weights, decoded.pixels)
    augmentation = Augmentation(recipe.augmentation, normalization, device)

    def feed(decoded: Decoded, targets: Sequence[int], classes: int, channels_last: bool) -> Feed:
        return Feed(
            *(
                decoded.pixels,
                decoded.views,
                torch.tensor(targets),
                classes,
                augmentation,
                MixSpec(),
                recipe.batch_size,
            ),
            *(False, recipe.seed, device, channels_last),
        )

    def views(channels_last: bool) -> ViewFeed:
        return ViewFeed(decoded.pixels, augmentation, recipe.batch_size, recipe.seed, device, channels_last)

    nothing = [0] * len(images.paths)
    if spec.weights is None and not trained:  # before a method copies the backbone into its target network
        whiten(backbone, feed(decoded, nothing, 1, channels_last=False))
    method = _build_method(recipe, backbone, width).to(device)
    mode, measured = settle_mode(recipe, method, views(channels_last=False), _loss_to_time, console, recorded)
    recipe = in_mode(recipe, mode)
    mode.apply(method)
    plain = feed(decoded, nothing, 1, mode.channels_last)
    scored = None
    if labelled is not None:
        share = budget.part(recipe.labelled.cache_mib)
        labelled, known, unknown = decode_images(
            _limited(labelled, recipe), recipe, recipe.labelled, share, console, crops=False
        )
        classes = len(labelled.classes)
        scored = Labelled(
            feed(known, [sample.label for sample in labelled.train], classes, mode.channels_last),
            feed(unknown, [sample.label for sample in labelled.validation], classes, mode.channels_last),
            classes,
        )
    rows = snapshot_rows(recipe, 0 if labelled is None else len(labelled.validation))

    def task(epochs: int) -> Pretraining:
        last = epochs * views(mode.channels_last).steps
        return Pretraining(path, recipe.evaluation, plain, scored, rows, last, recipe.seed)

    optimizer = build_optimizer(recipe.optimizer, method)
    fabric = make_fabric(device, mode.precision)
    job = Job(path, recipe, task(recipe.epochs), views(mode.channels_last), method, optimizer, None, fabric, mode)
    if recipe.budget and recorded is None:
        job = within_budget(job, seconds(recipe.budget), console)
        job = dataclasses.replace(job, task=task(job.recipe.epochs))
    return PreparedPretraining(job, method, images, labelled, normalization, weights, measured)


def _start_backbone(spec: BackboneSpec, recipe: PretrainingRecipe) -> tuple[nn.Module, int, WeightsReport]:
    with torch.random.fork_rng(devices=[]):
        return start_backbone(spec, recipe.augmentation.size, recipe.seed)


def _build_method(recipe: PretrainingRecipe, backbone: nn.Module, width: int) -> Method:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(recipe.seed, "head"))
        return build_method(recipe.method, backbone, width).train()


_VICREG_RATE = 0.02  # with SGD and without clipping; from about 0.1 on, most runs on small images have diverged


def _method_notes(recipe: PretrainingRecipe, images: int) -> list[str]:
    optimizer = recipe.optimizer
    unclipped = optimizer.name == "sgd" and optimizer.clip_norm is None
    if recipe.method.name == "vicreg" and unclipped and optimizer.lr > _VICREG_RATE:
        return [
            f"the loss of vicreg may diverge with optimizer.lr={optimizer.lr:g}: its covariance term is of fourth "
            f"order in the projections. Set optimizer.clip_norm=1, or optimizer.lr={_VICREG_RATE:g}"
        ]
    if not isinstance(recipe.method, MocoSpec) or recipe.method.queue <= images:
        return []
    return [
        f"method.queue={recipe.method.queue:,} is more than the {images:,} images: it comes to hold earlier "
        "projections of the very images that are told from it"
    ]


def _limited(labelled: ImageSet, recipe: PretrainingRecipe) -> ImageSet:
    """With labelled.fraction of the training images, and at most evaluation.known of these, drawn by the seed."""
    labelled = fewer(labelled, recipe.labelled.fraction, recipe.seed)
    most = recipe.evaluation.known
    if most is None or most >= len(labelled.train):
        return labelled
    generator = np.random.default_rng(derive(recipe.seed, "known"))
    rows = np.sort(generator.permutation(len(labelled.train))[:most])
    known: tuple[Sample, ...] = tuple(labelled.train[row] for row in rows)
    return dataclasses.replace(labelled, train=known)


def _loss_to_time(network: nn.Module, images: Tensor) -> Tensor:
    loss: Tensor = network(images, images.flip(-1))[0]
    return loss
