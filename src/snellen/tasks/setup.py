"""The part of setting up a run that all tasks share: mode, normalisation, optimiser, budget."""

from __future__ import annotations

import copy
import csv
import dataclasses
import io
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from torch import nn

from snellen.data.cache import Pixels, channel_statistics
from snellen.data.copies.found import known_leaks
from snellen.data.depth import settle_bits
from snellen.data.listing import AnySample, SplitSet
from snellen.data.normalization import Normalization, NormalizationSpec, floor_deviation
from snellen.data.shards.remote import is_url
from snellen.data.unlabelled import UnlabelledSet
from snellen.engine.budget import epochs_within
from snellen.engine.device import find_device, make_fabric, prepare_process
from snellen.engine.ema import build_ema
from snellen.engine.loop import Job
from snellen.engine.mode import Loss, Mode, ModeTiming
from snellen.engine.optimizer import build_optimizer
from snellen.engine.out_of_memory import memory_explained
from snellen.engine.processes import check_devices
from snellen.engine.recipe import CommonRecipe, Network, Reading, seconds
from snellen.engine.task import Source, Task
from snellen.errors import UserError
from snellen.models.weights import PUBLISHED, WeightsReport
from snellen.randomness import derive
from snellen.run.writer import RunWriter
from snellen.tasks.arithmetic import Recorded, in_mode, settle_mode
from snellen.words import counted

if TYPE_CHECKING:
    from lightning_fabric import Fabric

AnyReading = TypeVar("AnyReading", bound=Reading)
AnyRecipe = TypeVar("AnyRecipe", bound=CommonRecipe)
AnyImages = TypeVar("AnyImages")
AnyNetwork = TypeVar("AnyNetwork", bound=Network)


@dataclasses.dataclass(frozen=True)
class Prepared(Generic[AnyRecipe, AnyImages]):
    """A job, and the results of setting it up.

    recipe: with the depth of its images. images: the usable ones. input_size: (height, width) of a scored image.
    """

    job: Job
    recipe: AnyRecipe
    images: AnyImages
    normalization: Normalization
    weights: WeightsReport
    timings: Sequence[ModeTiming]
    input_size: tuple[int, int]


def set_up(
    writer: RunWriter,
    recipe: AnyRecipe,
    network: nn.Module,
    feed: Source,
    loss: Loss,
    build: Callable[[AnyRecipe, Mode, Fabric], tuple[Task, Source]],
    console: Console,
    recorded: Recorded | None,
    tune: Callable[[Job], Job] | None = None,
) -> tuple[Job, Sequence[ModeTiming]]:
    """The job of a run in the fastest mode, with as many epochs as fit into its budget, and the timings of the modes.

    network: with its initial weights, on the device. feed: training batches in the contiguous layout. loss: as in
    Workload. build: makes the task and the training batches for the chosen mode. tune: applied to the job of a new run.
    """
    mode, timings = settle_mode(recipe, network, feed, loss, console, recorded)
    recipe = in_mode(recipe, mode)
    mode.apply(network)
    fabric = make_fabric(feed.device, mode.precision)
    task, source = build(recipe, mode, fabric)
    optimizer = build_optimizer(recipe.optimizer, network)
    ema = build_ema(recipe.ema, network) if recipe.ema else None
    job = Job(
        writer=writer,
        recipe=recipe,
        task=task,
        feed=source,
        model=network,
        optimizer=optimizer,
        ema=ema,
        fabric=fabric,
        mode=mode,
    )
    if recorded is None and tune is not None:
        job = tune(job)
    if recorded is None and recipe.budget:
        job = _within_budget(job, seconds(recipe.budget), console)
    return job, timings


def begin(recipe: CommonRecipe, recorded: Recorded | None) -> torch.device:
    """Sets threads and determinism of this process. Returns the device."""
    prepare_process(recipe.hardware, resumed=recorded is not None)
    device = find_device(recipe.hardware)
    check_devices(recipe, device)
    return device


def start_of(spec: AnyNetwork, recorded: Recorded | None) -> AnyNetwork:
    """The network's fields without initial weights if the run has a checkpoint, which provides them."""
    return spec.model_copy(update={"weights": None}) if recorded is not None and recorded.trained else spec


def normalization_of(
    recipe: CommonRecipe, weights: WeightsReport, pixels: Pixels, recorded: Recorded | None
) -> Normalization:
    """The resumed run's normalisation, or for a new run as its recipe says."""
    if recorded is not None:
        return recorded.normalization
    return find_normalization(recipe.normalization, weights, pixels)


def say(console: Console, text: str) -> None:
    """Prints a line verbatim: no markup, no highlighting, no wrapping."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def say_notes(console: Console, notes: Sequence[str]) -> None:
    """Prints notes for the user."""
    for note in notes:
        console.print(f"[yellow]note:[/] {escape(note)}", highlight=False, soft_wrap=True)


def say_weights(console: Console, weights: WeightsReport) -> None:
    """Prints which initial weights were loaded, and which were not."""
    if weights.sentence is not None:
        console.print(weights.sentence, highlight=False, markup=False, soft_wrap=True)


def _within_budget(job: Job, budget: float, console: Console) -> Job:
    """The job with as many epochs as fit into `budget` seconds, timed on a copy of its network."""
    with memory_explained(job.recipe, job.feed.device):
        epochs = epochs_within(budget, job.on(copy.deepcopy(job.model)))
    console.print(f"budget {job.recipe.budget}: {counted(epochs, 'epoch')}", highlight=False)
    return dataclasses.replace(job, recipe=job.recipe.model_copy(update={"epochs": epochs}))


def with_depth(spec: AnyReading, training: Sequence[Path], scored: Sequence[Path], console: Console) -> AnyReading:
    """`spec` with the bits of 16-bit training images measured, with a note; unchanged if there are none.

    scored: images that get a note if they exceed that scale.
    """
    with console.status("reading the values of 16-bit images"):
        bits, notes = settle_bits(spec.bits, training, scored)
    say_notes(console, notes)
    return spec.model_copy(update={"bits": bits})


def in_own_depth(
    recipe: AnyRecipe, images: SplitSet[Any, Any], console: Console, recorded: Recorded | None
) -> AnyRecipe:
    """The recipe of a new run with the bits of its 16-bit images measured; that of a resumed run has them."""
    if recorded is not None:
        return recipe
    data = with_depth(recipe.data, images.training_files, images.files(images.validation), console)
    return recipe.model_copy(update={"data": data})


def common_facts(
    images: SplitSet[Any, Any] | UnlabelledSet, scored: Sequence[Any], source: str, normalization: Normalization
) -> dict[str, Any]:
    """What data.json holds of every run's images. scored: those whose groups count. source: their origin."""
    return {
        "source": source,
        "root": str(images.root.resolve()),
        "layout": images.layout,
        "fingerprint": images.fingerprint,
        "normalization": dataclasses.asdict(normalization),
        "notes": list(images.notes),
        "left_out": [dataclasses.asdict(entry) for entry in images.left_out],
        "group": any(sample.group is not None for sample in scored),
    }


def leaked_images(images: SplitSet[Any, Any], console: Console) -> dict[str, list[int]]:
    """The rows of each scored part that are copies of images of an earlier part, as far as is known; prints notes.

    Near copies are known if `snellen check` was run on these images; nothing is known of so many that none was read.
    """
    if not images.by_content:
        return {}
    leaked, notes = known_leaks({part: images.files(samples) for part, samples in images.parts.items()})
    say_notes(console, notes)
    return leaked


def samples_csv(
    parts: Mapping[str, Sequence[AnySample]], columns: Sequence[str], cells: Callable[[AnySample], Sequence[object]]
) -> str:
    """samples.csv: a row for each image of each part. columns: of this task. cells: theirs, of an image."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", "split", "path", *columns, "group"])
    pairs = [(split, sample) for split, samples in parts.items() for sample in samples]
    for row, (split, sample) in enumerate(pairs):
        writer.writerow([row, split, sample.path, *cells(sample), sample.group or ""])
    return text.getvalue()


def find_normalization(spec: NormalizationSpec, weights: WeightsReport, pixels: Pixels) -> Normalization:
    """Mean and deviation as the recipe says: given, of the loaded weights, or measured on the training images.

    Raises UserError if those of the weights are required and no weights with a known normalisation were loaded.
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


def snapshot_rows(recipe: CommonRecipe, count: int) -> NDArray[np.int64]:
    """Indices of the scored images in snapshots, drawn from `count` by the recipe's seed, sorted."""
    generator = np.random.default_rng(derive(recipe.seed, "snapshots"))
    return np.sort(generator.permutation(count)[: recipe.snapshots.images]).astype(np.int64)


def with_absolute_weights(recipe: AnyRecipe) -> AnyRecipe:
    """The recipe with the path of its weights made absolute, so that the run can be read from anywhere.

    The words imagenet and coco keep their meaning whatever is in the working folder; ./imagenet is a folder.
    """
    weights = recipe.model.weights
    if weights is None or weights in PUBLISHED or not os.path.exists(weights):
        return recipe
    return recipe.with_part("model", weights=str(Path(weights).resolve()))


def absolute(source: str | Path) -> str:
    """A data source in a form that works from any folder."""
    is_path = not (str(source).startswith("torchvision:") or is_url(source))
    return str(Path(source).resolve()) if is_path else str(source)


def check_unchanged(data: Mapping[str, Any], key: str, fingerprint: str) -> None:
    """Raises UserError if the images are not those that the run began with. data: its data.json."""
    if fingerprint != data[key]:
        raise UserError(
            f"{data['root']}: the images have changed since this run began, so it cannot be resumed exactly. "
            "Restore the original images, or train a new run."
        )
