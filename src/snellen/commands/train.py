"""Training: from a recipe and images to a finished run directory."""

from __future__ import annotations

import csv
import dataclasses
import errno
import io
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from snellen.data.normalization import Normalization
from snellen.data.sources import ImageSet, read_images
from snellen.engine.checkpoint import Progress, save_weights
from snellen.engine.claim import locked, new_run
from snellen.engine.device import find_device
from snellen.engine.display import Display
from snellen.engine.environment import describe, peak_memory_mib
from snellen.engine.interrupt import StopRequest
from snellen.engine.loop import Job
from snellen.engine.loop import train as run_loop
from snellen.engine.precision import Mode
from snellen.engine.run_directory import Run
from snellen.errors import UserError
from snellen.files import write_json, write_text
from snellen.models.classifier import count_macs, count_parameters
from snellen.recipe.choose import choose_recipe
from snellen.recipe.load import apply_overrides, dump, load_recipe, validate
from snellen.recipe.schema import Recipe
from snellen.tasks.preparation import Prepared, Recorded, prepare

_SAMPLE_FIELDS = ["row", "split", "path", "target", "class", "group"]


def train(
    data: str | Path,
    recipe: str | Path | Mapping[str, Any] | None = None,
    *,
    out: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    console: Console | None = None,
) -> Run:
    """Trains a classifier and returns its run.

    data: a folder, a table of path and label, or torchvision:NAME. recipe: a shipped recipe's name, a YAML file, or a
    dictionary of fields; None chooses one by the images' size and the hardware. out: a new or empty folder for the
    run; None makes runs/<recipe>-<time>. overrides: recipe fields by dotted key, {"epochs": 5, "optimizer.lr": 0.01}.

    A run that was stopped by Ctrl-C is returned with run.status["state"] == "interrupted"; `resume` goes on with it.
    Raises UserError for input that cannot work; nothing is left behind then.
    """
    console = console or Console(stderr=True)
    overrides = overrides or {}
    if recipe is None:
        images, recipe, fields = _choose(data, overrides, console)
        loaded = load_recipe(recipe, fields | dict(overrides))
    else:
        loaded = load_recipe(recipe, overrides)
        images = read_images(data, loaded.data)
    loaded = _with_absolute_weights(loaded)
    _say_images(console, images)
    with new_run(Path(out) if out is not None else None, loaded.name) as path, locked(path):
        prepared = prepare(path, loaded, images, console, recorded=None)
        _write_start(path, prepared, str(data))
        return _execute(path, prepared, console)


def resume(run: str | Path, *, console: Console | None = None) -> Run:
    """Goes on with a run from its last checkpoint, as if it had never been stopped.

    Raises UserError when the images or the recipe are no longer what they were.
    """
    console = console or Console(stderr=True)
    opened = Run(Path(run))
    if opened.status["state"] == "finished":
        raise UserError(
            f"{run}: this run is finished (epoch {opened.status['epochs_done']}); there is nothing to resume."
        )
    with locked(opened.path):
        images = read_images(opened.data["source"], opened.recipe.data)
        if images.fingerprint != opened.data["fingerprint"]:
            raise UserError(
                f"{opened.data['root']}: the images have changed since this run began, so it cannot go on exactly. "
                "Bring back the images as they were, or train a new run."
            )
        normalization = opened.data["normalization"]
        recorded = Recorded(
            Mode(*(opened.environment[key] for key in ("precision", "channels_last", "compiled"))),
            Normalization(tuple(normalization["mean"]), tuple(normalization["std"]), normalization["source"]),
            trained=(opened.path / "checkpoints" / "last.pt").is_file(),
        )
        prepared = prepare(opened.path, opened.recipe, images, console, recorded)
        return _execute(opened.path, prepared, console)


def _choose(data: str | Path, overrides: Mapping[str, Any], console: Console) -> tuple[ImageSet, str, dict[str, Any]]:
    fields = apply_overrides(
        {}, {key: value for key, value in overrides.items() if key.startswith(("data.", "hardware."))}
    )
    partial = validate(fields, "recipe")
    images = read_images(data, partial.data)
    gpu = find_device(partial.hardware).type != "cpu"
    choice = choose_recipe([images.root / sample.path for sample in images.train], gpu)
    fields = {key: value for key, value in choice.fields.items() if key not in overrides}
    if "budget" in overrides:
        fields.pop("epochs", None)
    console.print(
        f"recipe {choice.name}: {choice.reason}. To see it: snellen recipes show {choice.name}", highlight=False
    )
    if fields:
        changes = " ".join(f"{key}={value:g}" for key, value in fields.items())
        console.print(f"for only {len(images.train):,} training images: {changes}", highlight=False)
    return images, choice.name, fields


def _with_absolute_weights(recipe: Recipe) -> Recipe:
    weights = recipe.model.weights
    if weights is None or not Path(weights).exists():
        return recipe
    model = recipe.model.model_copy(update={"weights": str(Path(weights).resolve())})
    return recipe.model_copy(update={"model": model})


def _say_images(console: Console, images: ImageSet) -> None:
    console.print(
        f"{len(images.train):,} training and {len(images.validation):,} validation images, "
        f"{len(images.classes)} classes ({images.layout}; {images.split})",
        highlight=False,
        soft_wrap=True,
    )
    for note in images.notes:
        console.print(f"[yellow]note:[/] {note}", highlight=False)


def _write_start(path: Path, prepared: Prepared, source: str) -> None:
    """Everything that is known before the first step; recipe.yaml last, since it makes the folder a run."""
    job, images = prepared.job, prepared.images
    write_text(path / "samples.csv", _samples_csv(images))
    write_json(path / "data.json", _data_json(prepared, source))
    spec, size = job.recipe, job.recipe.evaluation.size
    environment = describe(job.feed.device) | {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": spec.seed,
        **dataclasses.asdict(job.mode),
        "measured": [entry.as_dict() for entry in prepared.measured],
        "parameters": count_parameters(job.model),
        "trainable_parameters": sum(p.numel() for p in job.model.parameters() if p.requires_grad),
        "macs": count_macs(job.model, size),
        "weights": {
            "source": prepared.weights.source,
            "loaded": prepared.weights.loaded,
            "missing": list(prepared.weights.missing),
            "unexpected": list(prepared.weights.unexpected),
            "mismatched": list(prepared.weights.mismatched),
        },
    }
    write_json(path / "environment.json", environment)
    _write_status(path, "running", job, Progress())
    write_text(path / "recipe.yaml", dump(spec))


def _samples_csv(images: ImageSet) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_SAMPLE_FIELDS)
    pairs = [("train", s) for s in images.train] + [("validation", s) for s in images.validation]
    for row, (split, sample) in enumerate(pairs):
        writer.writerow([row, split, sample.path, sample.label, images.classes[sample.label], sample.group or ""])
    return text.getvalue()


def _data_json(prepared: Prepared, source: str) -> dict[str, Any]:
    images = prepared.images
    sets = {"train": images.train, "validation": images.validation}
    labels = {name: [sample.label for sample in samples] for name, samples in sets.items()}
    count = len(images.classes)
    return {
        "source": source if source.startswith("torchvision:") else str(Path(source).resolve()),
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


def _write_status(path: Path, state: str, job: Job, progress: Progress, error: str | None = None) -> None:
    seconds, scored = progress.seconds_training, job.task.validation_images
    status = {
        "state": state,
        "epochs_done": progress.epoch - 1,
        "epochs": job.recipe.epochs,
        "steps_done": progress.step,
        "seconds_training": round(seconds, 2),
        "seconds_evaluating": round(progress.seconds_evaluating, 2),
        "images_per_second": round(progress.images / seconds, 1) if seconds else None,
        "peak_memory_mib": round(peak_memory_mib(job.feed.device), 1),
        "chosen_epoch": progress.chosen_epoch or None,
        "top1": progress.chosen_correct / scored if progress.chosen_epoch else None,
    }
    write_json(path / "status.json", status | ({"error": error} if error else {}))


def _execute(path: Path, prepared: Prepared, console: Console) -> Run:
    """Trains to the end or to Ctrl-C, then writes what is made from the whole run."""
    job = prepared.job
    checkpoint, progress = job.begin()
    _write_status(path, "running", job, progress)
    console.print(f"training {job.recipe.epochs} epochs of {job.feed.steps} steps into {path}", highlight=False)
    steps = job.recipe.epochs * job.feed.steps
    try:
        with StopRequest() as stop, Display(console, job.recipe.epochs, steps, progress.step) as display:
            finished = run_loop(job, display, stop, checkpoint, progress)
    except (UserError, torch.OutOfMemoryError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        message = _advice(error, job)
        _write_status(path, "failed", job, progress, message)
        raise UserError(f"{message}\nTo go on from the last checkpoint: snellen train --resume {path}") from error
    save_weights(path / "checkpoints" / "last.safetensors", job.scored, {"epoch": str(progress.epoch - 1)})
    _write_predictions(Run(path))
    _write_status(path, "finished" if finished else "interrupted", job, progress)
    run = Run(path)
    if finished:
        console.print(f"report: {run.report()}", highlight=False, soft_wrap=True)
    else:
        console.print(f"stopped; to go on: snellen train --resume {path}", highlight=False, soft_wrap=True)
    return run


def _advice(error: Exception, job: Job) -> str:
    if isinstance(error, OSError):
        return f"{job.path}: the disk is full."
    if isinstance(error, torch.OutOfMemoryError):
        return (
            f"the device {job.feed.device} ran out of memory with batch_size={job.recipe.batch_size}. Try "
            f"accumulation={job.recipe.accumulation * 2} (the same batch in smaller parts) or a smaller batch_size."
        )
    return str(error)


def _write_predictions(run: Run) -> None:
    if not (run.path / "predictions" / "validation.npz").is_file():
        return  # stopped before the first evaluation
    scored = run.validation()
    samples = run.samples()
    samples = samples[samples["split"] == "validation"]
    names = np.array(run.classes)
    chosen = scored.probabilities.argmax(1)
    table = samples[["path", "class"]].assign(
        prediction=names[chosen],
        confidence=scored.probabilities.max(1).round(6),
        correct=(chosen == scored.target).astype(int),
    )
    write_text(run.path / "predictions" / "validation.csv", table.to_csv(index=False))
