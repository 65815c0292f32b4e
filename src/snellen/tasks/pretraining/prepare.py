"""From a recipe and a folder of images to everything a pretraining run trains with."""

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
from snellen.data.augment.spec import MixSpec
from snellen.data.copies.found import known_leaks
from snellen.data.disk_cache import DiskCache
from snellen.data.feed import Feed
from snellen.data.fingerprint import content_hashes
from snellen.data.listing import ImageSet, Sample
from snellen.data.sources import read_images
from snellen.data.split import fewer
from snellen.data.store import CacheBudget
from snellen.data.unlabelled import UnlabelledSet
from snellen.data.views import ViewFeed
from snellen.engine.mode import Mode
from snellen.errors import UserError
from snellen.models.classifier import check_evaluation_size, start_backbone
from snellen.models.spec import BackboneSpec
from snellen.models.weights import WeightsReport
from snellen.randomness import derive
from snellen.run.writer import RunWriter
from snellen.tasks.arithmetic import Recorded
from snellen.tasks.classification.record import SAMPLE_COLUMNS, label_cells
from snellen.tasks.decoding import Decoded, decode_images, decode_paths, decodes_ahead, whiten
from snellen.tasks.kind import Facts
from snellen.tasks.pretraining.methods.build import build_method
from snellen.tasks.pretraining.methods.method import Method
from snellen.tasks.pretraining.methods.spec import MocoSpec
from snellen.tasks.pretraining.recipe import PretrainingRecipe
from snellen.tasks.pretraining.task import Labelled, Pretraining
from snellen.tasks.setup import (
    Prepared,
    begin,
    check_unchanged,
    common_facts,
    normalization_of,
    samples_csv,
    say,
    say_notes,
    say_weights,
    set_up,
    snapshot_rows,
    start_of,
    with_depth,
)
from snellen.words import counted

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclasses.dataclass(frozen=True)
class PreparedPretraining(Prepared[PretrainingRecipe, UnlabelledSet]):
    """A job, and the results of setting it up. labelled: None if the recipe names no labelled set."""

    labelled: ImageSet | None


def prepare(
    path: Path, recipe: PretrainingRecipe, images: UnlabelledSet, console: Console, recorded: Recorded | None
) -> PreparedPretraining:
    """Decodes the images, builds the networks, picks the fastest mode, and fixes the number of epochs.

    path: the run directory; nothing is written to it here. recorded: of the run that is resumed, None for a new one.
    Raises UserError for images, weights or settings that cannot work.
    """
    writer, device = RunWriter(path), begin(recipe, recorded)
    spec = start_of(recipe.model, recorded)
    backbone, width, weights = _start_backbone(spec, recipe)
    say_weights(console, weights)
    check_evaluation_size(backbone, spec, recipe.evaluation.size)
    say_notes(console, _method_notes(recipe, len(images.paths)))
    labelled = None if recipe.evaluation.data is None else read_images(recipe.evaluation.data, recipe.labelled)
    if recorded is None:
        recipe = _with_depth(recipe, images, labelled, console)
    elif labelled is not None:
        check_unchanged(recorded.data, "labelled_fingerprint", labelled.fingerprint)
    disk = DiskCache(recipe.data.disk_cache_mib)
    budget = CacheBudget(recipe.data.cache_mib, disk=disk)  # shared with the labelled images
    paths = [images.root / name for name in images.paths]
    ahead = decodes_ahead(paths, recipe.data)
    decoded = decode_paths(paths, recipe, recipe.data, budget, console, crops=True, ahead=ahead)
    images = dataclasses.replace(
        images, paths=tuple(images.paths[row] for row in decoded.rows), left_out=decoded.left_out
    )
    if len(images.paths) < 2:
        raise UserError(f"{images.root}: fewer than two of its images can be read.")
    normalization = normalization_of(recipe, weights, decoded.pixels, recorded)
    augmentation = Augmentation(recipe.augmentation, normalization, device)

    def feed(decoded: Decoded, targets: Sequence[int], classes: int, channels_last: bool) -> Feed:
        return Feed(
            pixels=decoded.pixels,
            views=decoded.views,
            targets=torch.tensor(targets),
            classes=classes,
            augmentation=augmentation,
            mix=MixSpec(),
            batch_size=recipe.batch_size,
            drop_last=False,
            seed=recipe.seed,
            device=device,
            channels_last=channels_last,
        )

    def views(channels_last: bool) -> ViewFeed:
        return ViewFeed(
            pixels=decoded.pixels,
            augmentation=augmentation,
            batch_size=recipe.batch_size,
            seed=recipe.seed,
            device=device,
            channels_last=channels_last,
        )

    no_targets = [0] * len(images.paths)
    if spec.weights is None and not (recorded and recorded.trained):
        # Before the method copies the backbone into its target network.
        whiten(backbone, feed(decoded, no_targets, 1, channels_last=False))
    method = _build_method(recipe, backbone, width).to(device)
    references = queries = None
    if labelled is not None:
        share = budget.part(recipe.labelled.cache_mib, DiskCache(recipe.labelled.disk_cache_mib))
        labelled, references, queries = decode_images(
            _limited(labelled, recipe), recipe, recipe.labelled, share, console, crops=False
        )

    def build(recipe: PretrainingRecipe, mode: Mode, fabric: Fabric) -> tuple[Pretraining, ViewFeed]:
        scored = None
        if labelled is not None and references is not None and queries is not None:
            classes = len(labelled.classes)
            scored = Labelled(
                known=feed(references, [sample.label for sample in labelled.train], classes, mode.channels_last),
                scored=feed(queries, [sample.label for sample in labelled.validation], classes, mode.channels_last),
                classes=classes,
            )
        rows = snapshot_rows(recipe, 0 if labelled is None else len(labelled.validation))
        plain = feed(decoded, no_targets, 1, mode.channels_last)
        task = Pretraining(writer, recipe.evaluation, plain=plain, labelled=scored, rows=rows, seed=recipe.seed)
        return task, views(mode.channels_last)

    job, timings = set_up(writer, recipe, method, views(channels_last=False), _loss_to_time, build, console, recorded)
    size = recipe.evaluation.size
    return PreparedPretraining(
        job=job,
        recipe=recipe,
        images=images,
        normalization=normalization,
        weights=weights,
        timings=timings,
        input_size=(size, size),
        labelled=labelled,
    )


def facts(prepared: PreparedPretraining, source: str, console: Console) -> Facts:
    """The run's data.json and samples.csv, with an evaluation of the features before the first step, also printed."""
    images, labelled = prepared.images, prepared.labelled
    scored = () if labelled is None else labelled.validation
    overlap = _overlap(images, labelled)
    say_notes(console, overlap)
    data = {
        **common_facts(images, scored, source, prepared.normalization),
        "classes": [] if labelled is None else list(labelled.classes),
        "counts": {
            "train": len(images.paths),
            "known": 0 if labelled is None else len(labelled.train),
            "validation": len(scored),
        },
        "split": "no labels" if labelled is None else labelled.split,
        "labelled_fingerprint": None if labelled is None else labelled.fingerprint,
        "notes": [*images.notes, *overlap],
        "left_out": [
            dataclasses.asdict(entry) for entry in (*images.left_out, *(() if labelled is None else labelled.left_out))
        ],
        "leaked": _leaked(images, labelled, console),
        "at_start": _evaluate_at_start(prepared, console),
    }
    return Facts(_samples(images, labelled), data)


def plain_loop(prepared: PreparedPretraining) -> Iterator[int]:
    """There is no such baseline here: see benchmarks/pretraining.py."""
    raise UserError("`snellen bench train` measures recipes of `snellen train`; this one is for pretraining.")


def _evaluate_at_start(prepared: PreparedPretraining, console: Console) -> dict[str, float]:
    job = prepared.job
    evaluation = job.task.evaluate(job.model, job.fabric.autocast)
    if not evaluation.finite:
        advice = "Start from other weights (model.weights)." if job.recipe.model.weights else "Try another seed."
        raise UserError(f"outputs for these images are not finite before the first step. {advice}")
    say(console, f"before the first step: {evaluation.text()}")
    return evaluation.row()


def _samples(images: UnlabelledSet, labelled: ImageSet | None) -> str:
    """samples.csv: the unlabelled images, then the known and the scored ones with absolute paths."""
    parts = {"train": [Sample(name, -1) for name in images.paths]}
    if labelled is not None:
        parts |= {"known": _rooted(labelled, labelled.train), "validation": _rooted(labelled, labelled.validation)}
    classes = () if labelled is None else labelled.classes
    return samples_csv(parts, SAMPLE_COLUMNS, lambda sample: label_cells(sample, classes))


def _rooted(labelled: ImageSet, samples: tuple[Sample, ...]) -> list[Sample]:
    return [dataclasses.replace(sample, path=str((labelled.root / sample.path).resolve())) for sample in samples]


def _overlap(images: UnlabelledSet, labelled: ImageSet | None) -> list[str]:
    """A note if scored images are also among the training images: without labels, but seen nevertheless."""
    if labelled is None:
        return []
    if not images.by_content:
        return []
    training_hashes = set(content_hashes(images.training_files))
    scored = content_hashes([labelled.root / sample.path for sample in labelled.validation])
    both = sum(digest in training_hashes for digest in scored)
    if not both:
        return []
    return [
        f"{both:,} of {counted(len(scored), 'scored image')} {'is' if both == 1 else 'are'} also trained on "
        f"(without their labels)"
    ]


def _leaked(images: UnlabelledSet, labelled: ImageSet | None, console: Console) -> dict[str, list[int]]:
    """As `setup.leaked_images`: scored images that are copies of training images, or of images known with labels."""
    if labelled is None or not (images.by_content and labelled.by_content):
        return {}
    scored = labelled.files(labelled.validation)
    leaked, notes = known_leaks({"train": images.training_files + labelled.training_files, "validation": scored})
    say_notes(console, notes)
    return leaked


def _with_depth(
    recipe: PretrainingRecipe, images: UnlabelledSet, labelled: ImageSet | None, console: Console
) -> PretrainingRecipe:
    """The recipe with the bits of 16-bit images: one scale for the training images and the labelled ones."""
    data = with_depth(recipe.data, images.training_files, (), console)
    spec = recipe.labelled.model_copy(update={"bits": recipe.labelled.bits or data.bits})
    if labelled is not None:
        spec = with_depth(spec, labelled.training_files, labelled.files(labelled.validation), console)
    return recipe.model_copy(update={"data": data, "labelled": spec})


def _start_backbone(spec: BackboneSpec, recipe: PretrainingRecipe) -> tuple[nn.Module, int, WeightsReport]:
    with torch.random.fork_rng(devices=[]):
        return start_backbone(spec, recipe.augmentation.size, recipe.seed)


def _build_method(recipe: PretrainingRecipe, backbone: nn.Module, width: int) -> Method:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(recipe.seed, "head"))
        return build_method(recipe.method, backbone, width).train()


_VICREG_RATE = 0.02  # with SGD and without clipping; from about 0.1 on, most runs on small images diverged


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
        f"method.queue={recipe.method.queue:,} exceeds the {images:,} images, so the queue of negatives will contain "
        "earlier projections of the same images"
    ]


def _limited(labelled: ImageSet, recipe: PretrainingRecipe) -> ImageSet:
    """With labelled.fraction of the training images, and at most evaluation.known of these, drawn by the seed."""
    labelled = fewer(labelled, [sample.label for sample in labelled.train], recipe.labelled.fraction, recipe.seed)
    limit = recipe.evaluation.known
    if limit is None or limit >= len(labelled.train):
        return labelled
    generator = np.random.default_rng(derive(recipe.seed, "known"))
    rows = np.sort(generator.permutation(len(labelled.train))[:limit])
    known: tuple[Sample, ...] = tuple(labelled.train[row] for row in rows)
    return dataclasses.replace(labelled, train=known)


def _loss_to_time(network: nn.Module, images: Tensor) -> Tensor:
    loss: Tensor = network(images, images.flip(-1))[0]
    return loss
