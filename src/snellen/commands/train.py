"""Training a classifier or a segmenter: from a recipe and images to a finished run directory."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from snellen.commands.execution import execute, recorded_of, samples_csv, write_start
from snellen.commands.pretrain import resume_pretraining
from snellen.data.given import check_path, check_source
from snellen.data.listing import ImageSet, Sample
from snellen.data.masks.sources import is_masked
from snellen.data.sources import read_images
from snellen.data.table import as_text
from snellen.engine.device import find_device
from snellen.engine.loop import Job
from snellen.errors import UserError
from snellen.files import as_path, write_text
from snellen.recipe.load import dotted, load_for, load_recipe, of_kind
from snellen.run.claim import locked, new_run
from snellen.run.directory import Run, load
from snellen.tasks.choice import settle
from snellen.tasks.classification.data import choose_recipe
from snellen.tasks.classification.prepare import Prepared, prepare
from snellen.tasks.classification.recipe import Recipe
from snellen.tasks.segmentation.data import resume_segmenter, train_segmenter
from snellen.tasks.segmentation.recipe import SegmentationRecipe
from snellen.tasks.setup import absolute, check_unchanged, say_notes, with_absolute_weights
from snellen.words import counted, images_by_part

if TYPE_CHECKING:
    from snellen.data.sources import Source

_FRAME = "images.tsv"  # the DataFrame that a run was trained on


def train(
    data: Source,
    /,
    recipe: str | Path | Mapping[str, Any] | AnyRecipe | None = None,
    *,
    out: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    console: Console | None = None,
    quiet: bool = False,
    **fields: Any,
) -> Run:
    """Trains a classifier, or on images with masks a segmenter, and returns its run.

    data: a folder, a table of path and label, a DataFrame with the columns path and class (and split, group; paths are
    relative to the working folder), or torchvision:NAME; for a segmenter a folder of images with masks.
    recipe: a shipped recipe's name, a YAML file, or a dictionary of fields; None chooses one by what the data are, the
    images' size and the hardware. out: a new or empty folder for the run; None makes runs/<recipe>-<time>.
    fields: any field of the recipe, epochs=5, model={"backbone": "resnet18"}, or by dotted key,
    **{"optimizer.lr": 0.01}. overrides: the same as a dictionary, under these. quiet: print nothing.

    A run that was stopped by Ctrl-C is returned with run.status["state"] == "interrupted"; `resume` goes on with it.
    Raises UserError for input that cannot work; nothing is left behind then.
    """
    console = console or Console(stderr=True, quiet=quiet)
    data, overrides = check_source(data), dotted(overrides, fields)
    out = None if out is None else as_path(out, "out")
    if recipe is None and is_masked(data):
        return train_segmenter(check_path(data), None, overrides, out, console)
    if recipe is None:
        images, loaded = _choose(data, overrides, console)
    else:
        any_kind = load_recipe(recipe, overrides)
        if isinstance(any_kind, SegmentationRecipe):
            return train_segmenter(check_path(data), any_kind, overrides, out, console)
        loaded = of_kind(Recipe, any_kind)
        images = _read(data, loaded)
    return train_on(images, data, loaded, out, console)


def train_on(images: ImageSet, data: Source, recipe: Recipe, out: Path | None, console: Console) -> Run:
    """`train` on images that were read from `data` before."""
    recipe = with_absolute_weights(recipe)
    _say_images(console, images)
    whole = images
    with new_run(out, recipe.name) as path:
        prepared = prepare(path, recipe, images, console, recorded=None)
        job, images = prepared.job, prepared.images
        samples = samples_csv(list(_parts(images).items()), images.classes)
        shown = recipe.evaluation.size, recipe.evaluation.size
        facts = _data_json(prepared, _kept(data, path))
        write_start(path, job, job.model, samples, facts, prepared.weights, prepared.measured, shown)
        return execute(path, job, console, lambda: _prepared_again(path, whole, console))


def resume(run: str | Path | Run, *, console: Console | None = None, quiet: bool = False) -> Run:
    """Goes on with a run of any kind from its last checkpoint, as if it had never been stopped.

    Raises UserError when the images or the recipe are no longer what they were.
    """
    console = console or Console(stderr=True, quiet=quiet)
    opened = load(run)
    if opened.status["state"] == "finished":
        raise UserError(
            f"{run}: this run is finished (epoch {opened.status['epochs_done']}); there is nothing to resume."
        )
    if opened.status.get("diverged"):
        raise UserError(f"{run}: {opened.status['error']}")
    recipe = opened.recipe
    if recipe.task == "pretraining":
        return resume_pretraining(opened, recipe, console)
    if recipe.task == "segmentation":
        return resume_segmenter(opened, recipe, console)
    with locked(opened.path):
        images = _images_again(opened)
        check_unchanged(opened, "fingerprint", images.fingerprint)
        prepared = prepare(opened.path, recipe, images, console, recorded_of(opened))
        return execute(opened.path, prepared.job, console, lambda: _prepared_again(opened.path, images, console))


def _kept(data: Source, path: Path) -> str | Path:
    """Where a run finds its images again: a DataFrame is written into its folder."""
    if isinstance(data, str | Path):
        return data
    write_text(path / _FRAME, as_text(data).to_csv(sep="\t", index=False, quoting=csv.QUOTE_ALL))
    return path / _FRAME


def _images_again(run: Run) -> ImageSet:
    recipe, kept = run.classification, run.path / _FRAME
    if kept.is_file():
        return read_images(kept, recipe.data, Path(run.data["root"]))
    return read_images(run.data["source"], recipe.data)


def _prepared_again(path: Path, images: ImageSet, console: Console) -> Job:
    """The job of a run that goes on, in the mode that its folder now says."""
    run = Run(path)
    return prepare(path, run.classification, images, console, recorded_of(run)).job


def _read(data: Source, recipe: Recipe) -> ImageSet:
    try:
        return read_images(data, recipe.data)
    except UserError as error:
        if is_masked(data):
            raise UserError(
                f"{error}\nThese are images with masks, and {recipe.name} is for images in classes. To train on the "
                f"masks: snellen train segment-lite {data}"
            ) from error
        raise


def _choose(data: Source, overrides: Mapping[str, Any], console: Console) -> tuple[ImageSet, Recipe]:
    given = {key: value for key, value in overrides.items() if key.startswith(("data.", "hardware."))}
    partial = load_for(Recipe, {}, given)
    images = read_images(data, partial.data)
    gpu = find_device(partial.hardware).type != "cpu"
    choice = choose_recipe([images.root / sample.path for sample in images.train], gpu)
    fields = settle(console, choice, overrides, len(images.train))
    return images, load_for(Recipe, choice.name, fields)


def _say_images(console: Console, images: ImageSet) -> None:
    console.print(
        f"{images_by_part(len(images.train), len(images.validation), len(images.test))}, "
        f"{counted(len(images.classes), 'class', 'classes')} ({images.layout}; {images.split})",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    say_notes(console, images.notes)


def _parts(images: ImageSet) -> dict[str, tuple[Sample, ...]]:
    """The parts of the split by name; test only where there is one."""
    parts = {"train": images.train, "validation": images.validation, "test": images.test}
    return {name: samples for name, samples in parts.items() if samples or name != "test"}


def _data_json(prepared: Prepared, source: str | Path) -> dict[str, Any]:
    images = prepared.images
    labels = {name: [sample.label for sample in samples] for name, samples in _parts(images).items()}
    count = len(images.classes)
    return {
        "source": absolute(source),
        "root": str(images.root.resolve()),
        "layout": images.layout,
        "classes": list(images.classes),
        "counts": {name: len(values) for name, values in labels.items()},
        "per_class": {name: np.bincount(values, minlength=count).tolist() for name, values in labels.items()},
        "split": images.split,
        "fingerprint": images.fingerprint,
        "normalization": dataclasses.asdict(prepared.normalization),
        "notes": list(images.notes),
        "left_out": [dataclasses.asdict(entry) for entry in images.left_out],
        "group": any(sample.group is not None for sample in images.validation),
    }
