"""Training a segmenter: from a recipe and images with masks to a finished run directory."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from snellen.commands.execution import (
    absolute,
    check_unchanged,
    execute,
    recorded_of,
    settle,
    with_absolute_weights,
    write_start,
)
from snellen.data.masks.sources import MaskedSet, read_masked
from snellen.engine.device import find_device
from snellen.engine.loop import Job
from snellen.recipe.load import load_for
from snellen.run.claim import locked, new_run
from snellen.run.directory import Run
from snellen.tasks.choice import Choice, _for_few_images, _median_side
from snellen.tasks.segmentation.prepare import PreparedSegmentation, prepare_segmentation
from snellen.tasks.segmentation.recipe import SegmentationRecipe
from snellen.tasks.setup import say_notes
from snellen.words import counted, images_by_part


def train_segmenter(
    data: str | Path,
    recipe: SegmentationRecipe | None,
    overrides: Mapping[str, Any],
    out: str | Path | None,
    console: Console,
) -> Run:
    """Trains a segmenter on a folder of images with masks. recipe: None chooses one by the hardware, and says so."""
    if recipe is None:
        images, recipe = _choose(data, overrides, console)
    else:
        images = read_masked(data, recipe.data)
    return train_segmenter_on(images, data, recipe, Path(out) if out is not None else None, console)


def train_segmenter_on(
    images: MaskedSet,
    data: str | Path,
    recipe: SegmentationRecipe,
    out: Path | None,
    console: Console,
) -> Run:
    """`train_segmenter` on images that were read from `data` before."""
    recipe = _with_absolute_paths(recipe)
    _say_images(console, images)
    with new_run(out, recipe.name) as path:
        prepared = prepare_segmentation(path, recipe, images, console, recorded=None)
        say_notes(console, prepared.decoded.notes)
        job = prepared.job
        facts = _data_json(prepared, data)
        weights, measured = prepared.weights, prepared.measured
        write_start(path, job, job.model, _samples(prepared.decoded.images), facts, weights, measured, prepared.shown)
        return execute(path, job, console, lambda: _prepared_again(path, images, console))


def resume_segmenter(run: Run, recipe: SegmentationRecipe, console: Console) -> Run:
    """Goes on with a segmentation run, exactly. Raises UserError when its images are no longer what they were."""
    with locked(run.path):
        images = read_masked(run.data["source"], recipe.data)
        check_unchanged(run, "fingerprint", images.fingerprint)
        prepared = prepare_segmentation(run.path, recipe, images, console, recorded_of(run))
        return execute(run.path, prepared.job, console, lambda: _prepared_again(run.path, images, console))


def _prepared_again(path: Path, images: MaskedSet, console: Console) -> Job:
    """The job of a run that goes on, in the mode that its folder now says."""
    run = Run(path)
    return prepare_segmentation(path, run.segmentation, images, console, recorded_of(run)).job


def _choose(data: str | Path, overrides: Mapping[str, Any], console: Console) -> tuple[MaskedSet, SegmentationRecipe]:
    given = {key: value for key, value in overrides.items() if key.startswith(("data.", "hardware."))}
    partial = load_for(SegmentationRecipe, {"task": "segmentation"}, given)
    images = read_masked(data, partial.data)
    gpu = find_device(partial.hardware).type != "cpu"
    choice = choose_segmentation_recipe([images.root / sample.image for sample in images.train], gpu)
    fields = settle(console, choice, overrides, len(images.train))
    return images, load_for(SegmentationRecipe, choice.name, fields)


def _with_absolute_paths(recipe: SegmentationRecipe) -> SegmentationRecipe:
    """So that the run can be read, and gone on with, from anywhere."""
    recipe = with_absolute_weights(recipe)
    table = recipe.data.class_table
    if table is None or not Path(table).is_file():
        return recipe
    data = recipe.data.model_copy(update={"class_table": str(Path(table).resolve())})
    return recipe.model_copy(update={"data": data})


def _say_images(console: Console, images: MaskedSet) -> None:
    console.print(
        f"{images_by_part(len(images.train), len(images.validation), len(images.test))} with masks, "
        f"{counted(len(images.classes), 'class', 'classes')}, ignored: {images.classes.ignored_text} "
        f"({images.layout}; {images.split})",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    say_notes(console, images.notes)


def _samples(images: MaskedSet) -> str:
    """samples.csv: a row for each image of each part."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", "split", "path", "mask", "group"])
    parts = {"train": images.train, "validation": images.validation, "test": images.test}
    pairs = [(split, sample) for split, samples in parts.items() for sample in samples]
    for row, (split, sample) in enumerate(pairs):
        writer.writerow([row, split, sample.image, sample.mask, sample.group or ""])
    return text.getvalue()


def _data_json(prepared: PreparedSegmentation, source: str | Path) -> dict[str, Any]:
    decoded = prepared.decoded
    images = decoded.images
    sides = {"train": decoded.train.class_pixels, "validation": decoded.validation.class_pixels}
    return {
        "source": absolute(source),
        "root": str(images.root.resolve()),
        "layout": images.layout,
        "classes": list(images.classes.names),
        "colours": [list(colour) for colour in images.classes.colours],
        "ignored": images.classes.ignored_text,
        "counts": {"train": len(images.train), "validation": len(images.validation)}
        | ({"test": len(images.test)} if images.test else {}),
        "per_class_pixels": {side: pixels.sum(0)[:-1].tolist() for side, pixels in sides.items()},
        "ignored_pixels": {side: int(pixels[:, -1].sum()) for side, pixels in sides.items()},
        "training_sizes": dataclasses.asdict(decoded.training),
        "split": images.split,
        "fingerprint": images.fingerprint,
        "normalization": dataclasses.asdict(prepared.normalization),
        "notes": [*images.notes, *decoded.notes],
        "left_out": [dataclasses.asdict(entry) for entry in images.left_out],
        "group": any(sample.group is not None for sample in images.validation),
    }


def choose_segmentation_recipe(paths: Sequence[Path], gpu: bool) -> Choice:
    """A recipe for these training images with masks, from their size, their number and the hardware."""
    from snellen.recipe.load import load_for
    from snellen.tasks.segmentation.recipe import SegmentationRecipe

    name = "segment-large" if gpu else "segment-lite"
    reason = f"the images have masks and there is {'a' if gpu else 'no'} GPU"
    fields = _for_few_images(name, len(paths))
    side, recipe = _median_side(paths), load_for(SegmentationRecipe, name, {})
    if "epochs" in fields:
        # Short epochs need no score each.
        fields["evaluation.every"] = max(recipe.evaluation.every, fields["epochs"] // recipe.epochs)
    if isinstance(recipe.augmentation.resize, int) and side < recipe.augmentation.resize:  # small images stay small
        fields |= {"augmentation.resize": None, "evaluation.resize": None}
        crop = max(32, 32 * round(side / 32))
        if isinstance(recipe.augmentation.size, int) and crop < recipe.augmentation.size:
            fields["augmentation.size"] = crop
    return Choice(name, reason, fields)
