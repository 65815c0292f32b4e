"""A study from its plan to its report: each run once, the finished ones never again."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from rich.console import Console
from rich.table import Table

from snellen.commands.execution import absolute
from snellen.commands.pretrain import pretrain
from snellen.commands.train import resume, train_on
from snellen.commands.train_segmenter import train_segmenter_on
from snellen.data.masks.sources import MaskDataSpec, MaskedSet, is_masked, read_masked
from snellen.data.sources import DataSpec, ImageSet, read_images
from snellen.engine.claim import locked
from snellen.engine.run_directory import Run
from snellen.errors import UserError
from snellen.files import write_text
from snellen.models.classifier import build_classifier
from snellen.models.segmenters.build import SegmenterSpec, build_segmenter
from snellen.recipe.load import dump
from snellen.recipe.schema import SegmentationRecipe
from snellen.study.directory import Study, StudyRun, write_study
from snellen.study.load import load_study
from snellen.study.plan import Plan, PlannedPretraining, PlannedRun, TrainedRecipe, make_plan
from snellen.study.timing import Speed, kind, time_steps


def compare(
    study: str | Path | Mapping[str, Any],
    data: str | Path,
    *,
    out: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    dry_run: bool = False,
    jobs: int | None = None,
    console: Console | None = None,
) -> Study | None:
    """Runs a study on labelled images and writes its report.

    study: a built-in study's name, a YAML file, or a dictionary of fields. data: as in `train`. out: the study's
    folder; None: studies/<name>. Runs that are finished there are not repeated, one that was interrupted goes on: the
    same call again carries on with an interrupted study, and one with more seeds or settings adds to it. overrides:
    fields of the study by dotted key, {"seeds": [0, 1], "changes.epochs": 5}. dry_run: only print the plan; the result
    is None then. jobs: runs at a time, each in a process of its own; None: one for each GPU.

    Raises UserError for a study, recipes, weights or images that cannot work.
    """
    console = console or Console(stderr=True)
    spec = load_study(study, overrides)
    folder = Path(out) if out is not None else Path("studies") / spec.name
    first = make_plan(spec, absolute(data), "", folder).runs[0].recipe  # its recipes are wrong before anything is read
    images = _read(data, first)
    plan = make_plan(spec, absolute(data), images.fingerprint, folder)
    _check_data_specs(plan, first.data)
    _check_weights(plan, images)
    speeds = _time(plan, images, console)
    console.print(_plan_table(plan, images, speeds))
    if dry_run:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        done = write_study(folder, spec, plan, absolute(data), images.fingerprint)
        if not _pretrained(plan.pretraining, images, console):
            return _interrupted(done, console)
        jobs = jobs or _devices()
        context = _Context(images, data, speeds, console)
        if not (_one_by_one(plan, context) if jobs == 1 else _side_by_side(plan, context, jobs)):
            return _interrupted(done, console)
        failed = [run for run in done.runs if run.state != "finished"]
        for run in failed:
            console.print(f"[yellow]note:[/] {run.path} has {run.state}; the report leaves it out", highlight=False)
        console.print(f"report: {done.report()}", highlight=False, soft_wrap=True)
    return done


def _read(data: str | Path, recipe: TrainedRecipe) -> ImageSet | MaskedSet:
    if isinstance(recipe, SegmentationRecipe):
        return read_masked(data, recipe.data)
    if is_masked(data):
        raise UserError(
            f"{data}: these are images with masks, and the study is for classes. Give it recipes for masks."
        )
    return read_images(data, recipe.data)


@dataclass(frozen=True)
class _Context:
    images: ImageSet | MaskedSet
    data: str | Path
    speeds: Mapping[str, Speed]
    console: Console

    def seconds(self, run: PlannedRun) -> float:
        return self.speeds[kind(run.recipe)].seconds(run.recipe, self.images)


def _check_data_specs(plan: Plan, first: DataSpec | MaskDataSpec) -> None:
    """All settings are scored on the same images, or nothing can be paired."""
    for run in plan.runs:
        if run.recipe.data.model_copy(update={"fraction": first.fraction}) != first:
            raise UserError(
                f"setting '{run.setting}': its `data` fields are not those of '{plan.runs[0].setting}', so the two "
                "would not be scored on the same images. Set data.… for the whole study: changes.data.…"
            )


def _check_weights(plan: Plan, images: ImageSet | MaskedSet) -> None:
    """Finds out before the first run whether a network cannot be built or its weights do not fit."""
    seen = set()
    for run in plan.runs:
        spec = run.recipe.model
        own = plan.pretraining is not None and spec.weights == str(plan.pretraining.path)
        key = (spec.model_dump_json(), run.recipe.augmentation.size)
        if not own and key not in seen:
            seen.add(key)
            try:
                _build(run.recipe, images)
            except UserError as error:
                hint = " In a study the file is given by supervised=FILE." if spec.weights == "imagenet" else ""
                raise UserError(f"setting '{run.setting}': {error}{hint}") from error
    if plan.pretraining is not None:
        theirs = plan.pretraining.recipe.model
        for run in plan.runs:
            ours = run.recipe.model
            if isinstance(ours, SegmenterSpec):
                continue  # an encoder has no name of its own; its weights are fitted when they are there
            if ours.weights == str(plan.pretraining.path) and (ours.backbone, ours.width) != (
                theirs.backbone,
                theirs.width,
            ):
                raise UserError(
                    f"setting '{run.setting}': its backbone is {ours.backbone} of width {ours.width:g}, the "
                    f"pretraining's {theirs.backbone} of width {theirs.width:g}. Give both the same: "
                    f"pretraining.changes.model.backbone={ours.backbone}"
                )


def _build(recipe: TrainedRecipe, images: ImageSet | MaskedSet) -> None:
    if isinstance(recipe, SegmentationRecipe):
        assert isinstance(images, MaskedSet)
        build_segmenter(recipe.model, len(images.classes.names), recipe.seed)
    else:
        assert isinstance(images, ImageSet)
        build_classifier(recipe.model, len(images.classes), recipe.augmentation.size, recipe.seed)


def _time(plan: Plan, images: ImageSet | MaskedSet, console: Console) -> dict[str, Speed]:
    """The speed of each kind of step that is still to be done."""
    speeds: dict[str, Speed] = {}
    for run in plan.runs:
        name = kind(run.recipe)
        if name not in speeds and _state(run.path) != "finished":
            speeds[name] = time_steps(run.recipe, images, console)
    return speeds


def _plan_table(plan: Plan, images: ImageSet | MaskedSet, speeds: Mapping[str, Speed]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("setting", "labels", "seeds", "epochs", "about", "state"):
        table.add_column(column, justify="left" if column in {"setting", "state"} else "right")
    if plan.pretraining is not None:
        recipe = plan.pretraining.recipe
        state = _state(plan.pretraining.path)
        table.add_row(f"pretraining ({recipe.name})", "none", "1", recipe.budget or str(recipe.epochs), "", state)
    total = 0.0
    for setting, fraction in dict.fromkeys((run.setting, run.fraction) for run in plan.runs):
        runs = [run for run in plan.runs if (run.setting, run.fraction) == (setting, fraction)]
        states = [_state(run.path) for run in runs]
        left = sum(state != "finished" for state in states)
        each = speeds[kind(runs[0].recipe)].seconds(runs[0].recipe, images) if left else 0.0
        total += each * left
        about = f"{left} x {_duration(each)}" if left else ""
        done = "finished" if not left else f"{len(runs) - left} finished" if left < len(runs) else "to do"
        epochs = runs[0].recipe.budget or str(runs[0].recipe.epochs)
        table.add_row(setting, f"{fraction:.3g}", str(len(runs)), epochs, about, done)
    table.add_row(f"[bold]{len(plan.runs)} runs[/]", "", "", "", f"[bold]{_duration(total)} left[/]", "")
    return table


def _state(path: Path) -> str:
    return StudyRun("", 1.0, 0, "", path).state


def _pretrained(planned: PlannedPretraining | None, images: ImageSet | MaskedSet, console: Console) -> bool:
    """Does the pretraining unless it is done. False when it was interrupted."""
    if planned is None or _state(planned.path) == "finished":
        return True
    console.rule("pretraining")
    if _state(planned.path) == "not started":
        fields = planned.recipe.model_dump(mode="json")
        source = planned.source
        if source is None:
            source = str(planned.path.with_suffix(".txt"))
            write_text(Path(source), "".join(f"{path.resolve()}\n" for path in _training_paths(images)))
        run = pretrain(source, fields, out=planned.path, console=console)
    else:
        run = resume(planned.path, console=console)
    return bool(run.status["state"] == "finished")


def _one_by_one(plan: Plan, context: _Context) -> bool:
    """Does what is left, in this process. False when it was interrupted."""
    left = [run for run in plan.runs if _state(run.path) != "finished"]
    for number, run in enumerate(left):
        ahead = sum(context.seconds(later) for later in left[number:])
        share = f", {100 * run.fraction:g}% of the labels" if run.fraction != 1 else ""
        place = f"{len(plan.runs) - len(left) + number + 1} of {len(plan.runs)}"
        context.console.rule(f"{place}: {run.setting}{share}, seed {run.seed}; about {_duration(ahead)} left")
        try:
            done = _train(run, context)
        except UserError as error:
            if _state(run.path) != "failed":
                raise
            context.console.print(f"[yellow]note:[/] {error}", highlight=False)
            continue
        if done.status["state"] != "finished":
            return False
    return True


def _train(run: PlannedRun, context: _Context) -> Run:
    if _state(run.path) != "not started":
        return resume(run.path, console=context.console)
    recipe = context.speeds[kind(run.recipe)].pinned(run.recipe)
    if isinstance(recipe, SegmentationRecipe):
        assert isinstance(context.images, MaskedSet)
        return train_segmenter_on(context.images, context.data, recipe, run.path, context.console, report=False)
    assert isinstance(context.images, ImageSet)
    return train_on(context.images, context.data, recipe, run.path, context.console, report=False)


def _training_paths(images: ImageSet | MaskedSet) -> list[Path]:
    if isinstance(images, MaskedSet):
        return [images.root / sample.image for sample in images.train]
    return [images.root / sample.path for sample in images.train]


def _side_by_side(plan: Plan, context: _Context, jobs: int) -> bool:
    """Does what is left in processes, `jobs` at a time, each on a GPU or on its share of the cores.

    Ctrl-C reaches all of them; each saves what it has done. False then.
    """
    left = [run for run in plan.runs if _state(run.path) != "finished"]
    slots: SimpleQueue[int] = SimpleQueue()
    for slot in range(jobs):
        slots.put(slot)
    stopped = threading.Event()
    gpus = _devices() if _gpu() else 0

    def work(run: PlannedRun) -> None:
        if stopped.is_set():
            return
        slot = slots.get()
        try:
            command = [sys.executable, "-m", "snellen", "train"]
            if _state(run.path) == "not started":
                recipe = context.speeds[kind(run.recipe)].pinned(run.recipe)
                file = run.path.parent / f"{run.path.name}.yaml"
                write_text(file, dump(recipe))
                command += [str(file), str(context.data), "--out", str(run.path)]
            else:
                command += ["--resume", str(run.path)]
            own = {"CUDA_VISIBLE_DEVICES": str(slot % gpus)} if gpus else {}
            threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // jobs))}
            log = run.path.parent / f"{run.path.name}.log"
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("a") as file_:
                subprocess.run(command, stdout=file_, stderr=file_, env=os.environ | threads | own, check=False)
            context.console.print(f"{run.path.name}: {_state(run.path)}", highlight=False)
        finally:
            slots.put(slot)

    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(work, run) for run in left]
        try:
            for future in futures:
                future.result()
        except KeyboardInterrupt:
            stopped.set()
    unstarted = [run for run in left if _state(run.path) == "not started"]
    if unstarted and not stopped.is_set():
        log = unstarted[0].path.parent / f"{unstarted[0].path.name}.log"
        raise UserError(f"{unstarted[0].path.name} could not be started; {log} says why.")
    return not stopped.is_set() and all(_state(run.path) in {"finished", "failed"} for run in left)


def _interrupted(study: Study, console: Console) -> Study:
    count = sum(run.state == "finished" for run in study.runs)
    console.print(
        f"stopped after {count} of {len(study.runs)} runs; the same command again goes on from there", highlight=False
    )
    return study


def _gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _devices() -> int:
    """How many runs there are devices for."""
    import torch

    return max(1, torch.cuda.device_count()) if _gpu() else 1


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
