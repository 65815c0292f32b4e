"""Pretraining: from a recipe and images without labels to a backbone that other runs start from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from snellen.commands.execution import execute, recorded_of, samples_csv, write_start
from snellen.data.fingerprint import content_hashes
from snellen.data.given import check_path
from snellen.data.listing import ImageSet, Sample
from snellen.data.unlabelled import UnlabelledSet, read_unlabelled
from snellen.engine.loop import Job
from snellen.errors import UserError
from snellen.files import as_path
from snellen.recipe.load import dotted, load_for
from snellen.run.claim import locked, new_run
from snellen.run.directory import Run
from snellen.tasks.choice import settle
from snellen.tasks.pretraining.data import choose_pretraining_recipe
from snellen.tasks.pretraining.prepare import PreparedPretraining, prepare_pretraining
from snellen.tasks.pretraining.recipe import PretrainingRecipe
from snellen.tasks.setup import absolute, check_unchanged, say_notes, with_absolute_weights
from snellen.words import counted


def pretrain(
    data: str | Path,
    /,
    recipe: str | Path | Mapping[str, Any] | PretrainingRecipe | None = None,
    *,
    out: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    console: Console | None = None,
    quiet: bool = False,
    **fields: Any,
) -> Run:
    """Learns a backbone from images without labels and returns its run.

    data: a folder of images at any depth, or torchvision:NAME; of one with train/ and val/ only train/ is learnt from.
    recipe: a shipped recipe's name, a YAML file, or a dictionary of fields; None chooses one by the images' size and
    number. out, overrides, quiet, fields: as in `train`.

    The run, or its checkpoints/best.safetensors, is what `model.weights` of other recipes takes.
    A run that was stopped by Ctrl-C is returned with run.status["state"] == "interrupted"; `resume` goes on with it.
    Raises UserError for input that cannot work; nothing is left behind then.
    """
    console = console or Console(stderr=True, quiet=quiet)
    data = check_path(data)
    overrides = dotted(overrides, fields)
    out = None if out is None else as_path(out, "out")
    loaded = None if recipe is None else load_for(PretrainingRecipe, recipe, overrides)
    images = read_unlabelled(data)
    console.print(
        f"{counted(len(images.paths), 'image')} without labels ({images.layout})",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    say_notes(console, images.notes)
    if loaded is None:
        loaded = _choose(images, overrides, console)
    loaded = _with_absolute_paths(loaded)
    with new_run(out, loaded.name) as path:
        prepared = prepare_pretraining(path, loaded, images, console, recorded=None)
        facts = _data_json(prepared, data)
        say_notes(console, facts["notes"][len(images.notes) :])
        job = prepared.job
        look = job.task.evaluate(job.model, job.fabric.autocast)
        if not look.finite:
            raise UserError(
                "the network gives no numbers for these images before the first step. "
                + ("Start from other weights (model.weights)." if loaded.model.weights else "Try another seed.")
            )
        facts["at_start"] = look.row()
        console.print(f"before the first step: {look.text()}", highlight=False, soft_wrap=True)
        write_start(
            *(path, prepared.job, prepared.method.backbone, _samples(prepared), facts),
            *(prepared.weights, prepared.measured, (loaded.evaluation.size, loaded.evaluation.size)),
        )
        return execute(path, prepared.job, console, lambda: _prepared_again(path, images, console))


def _choose(images: UnlabelledSet, overrides: Mapping[str, Any], console: Console) -> PretrainingRecipe:
    choice = choose_pretraining_recipe([images.root / name for name in images.paths])
    return load_for(PretrainingRecipe, choice.name, settle(console, choice, overrides, len(images.paths)))


def resume_pretraining(run: Run, recipe: PretrainingRecipe, console: Console) -> Run:
    """Goes on with a pretraining run, exactly. Raises UserError when its images are no longer what they were."""
    with locked(run.path):
        images = read_unlabelled(run.data["source"])
        check_unchanged(run, "fingerprint", images.fingerprint)
        prepared = prepare_pretraining(run.path, recipe, images, console, recorded_of(run))
        if prepared.labelled is not None:
            check_unchanged(run, "labelled_fingerprint", prepared.labelled.fingerprint)
        return execute(run.path, prepared.job, console, lambda: _prepared_again(run.path, images, console))


def _prepared_again(path: Path, images: UnlabelledSet, console: Console) -> Job:
    """The job of a run that goes on, in the mode that its folder now says."""
    run = Run(path)
    recipe = run.recipe
    assert isinstance(recipe, PretrainingRecipe)
    return prepare_pretraining(path, recipe, images, console, recorded_of(run)).job


def _with_absolute_paths(recipe: PretrainingRecipe) -> PretrainingRecipe:
    recipe = with_absolute_weights(recipe)
    if recipe.evaluation.data is None:
        return recipe
    evaluation = recipe.evaluation.model_copy(update={"data": absolute(recipe.evaluation.data)})
    return recipe.model_copy(update={"evaluation": evaluation})


def _samples(prepared: PreparedPretraining) -> str:
    """The unlabelled images, then the known and the scored ones with paths that lead to them from the first's root."""
    learnt = [Sample(name, -1) for name in prepared.images.paths]
    if prepared.labelled is None:
        return samples_csv([("train", learnt)], [])
    labelled = prepared.labelled
    known, scored = (_rooted(labelled, samples) for samples in (labelled.train, labelled.validation))
    return samples_csv([("train", learnt), ("known", known), ("validation", scored)], labelled.classes)


def _rooted(labelled: ImageSet, samples: tuple[Sample, ...]) -> list[Sample]:
    return [dataclasses.replace(sample, path=str((labelled.root / sample.path).resolve())) for sample in samples]


def _data_json(prepared: PreparedPretraining, source: str | Path) -> dict[str, Any]:
    images, labelled = prepared.images, prepared.labelled
    scored = () if labelled is None else labelled.validation
    left_out = [*images.left_out, *(() if labelled is None else labelled.left_out)]
    return {
        "source": absolute(source),
        "root": str(images.root.resolve()),
        "layout": images.layout,
        "classes": [] if labelled is None else list(labelled.classes),
        "counts": {
            "train": len(images.paths),
            "known": 0 if labelled is None else len(labelled.train),
            "validation": len(scored),
        },
        "split": "no labels" if labelled is None else labelled.split,
        "fingerprint": images.fingerprint,
        "labelled_fingerprint": None if labelled is None else labelled.fingerprint,
        "normalization": dataclasses.asdict(prepared.normalization),
        "notes": [*images.notes, *_overlap(images, labelled)],
        "left_out": [dataclasses.asdict(entry) for entry in left_out],
        "group": any(sample.group is not None for sample in scored),
    }


def _overlap(images: UnlabelledSet, labelled: ImageSet | None) -> list[str]:
    """Says when scored images are learnt from: without their labels, but seen all the same."""
    if labelled is None:
        return []
    seen = set(content_hashes([images.root / name for name in images.paths]))
    scored = content_hashes([labelled.root / sample.path for sample in labelled.validation])
    both = sum(digest in seen for digest in scored)
    if not both:
        return []
    return [
        f"{both:,} of {counted(len(scored), 'scored image')} {'is' if both == 1 else 'are'} also learnt from "
        f"(without their labels)"
    ]
