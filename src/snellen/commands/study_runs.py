"""The runs of a study, done one after the other or side by side; what is finished is left alone."""

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

from rich.console import Console
from rich.markup import escape

from snellen.commands.pretrain import pretrain
from snellen.commands.train import resume, train_on
from snellen.data.listing import ImageSet
from snellen.data.masks.sources import MaskedSet
from snellen.data.store import JOBS
from snellen.errors import UserError
from snellen.files import write_text
from snellen.recipe.load import dump
from snellen.run.directory import Run
from snellen.study.directory import state_of
from snellen.study.plan import Plan, PlannedPretraining, PlannedRun
from snellen.study.timing import Speed, kind
from snellen.tasks.segmentation.data import train_segmenter_on
from snellen.tasks.segmentation.recipe import SegmentationRecipe
from snellen.words import duration


@dataclass(frozen=True)
class Context:
    """What all runs of a study have in common. speeds: by kind of run."""

    images: ImageSet | MaskedSet
    data: str | Path
    speeds: Mapping[str, Speed]
    console: Console

    def seconds(self, run: PlannedRun) -> float:
        """About how long a run takes."""
        return self.speeds[kind(run.recipe)].seconds(run.recipe, self.images)


def pretrained(planned: PlannedPretraining | None, images: ImageSet | MaskedSet, console: Console) -> bool:
    """Does the pretraining unless it is done. False when it was interrupted."""
    if planned is None or state_of(planned.path) == "finished":
        return True
    console.rule("pretraining")
    if state_of(planned.path) == "not started":
        fields = planned.recipe.model_dump(mode="json")
        source = planned.source
        if source is None:
            source = str(planned.path.with_suffix(".txt"))
            write_text(Path(source), "".join(f"{path}\n" for path in training_paths(images)))
        run = pretrain(source, fields, out=planned.path, console=console)
    else:
        run = resume(planned.path, console=console)
    return bool(run.status["state"] == "finished")


def one_by_one(plan: Plan, context: Context) -> bool:
    """Does what is left, in this process. False when it was interrupted."""
    left = [run for run in plan.runs if state_of(run.path) != "finished"]
    expected = [context.seconds(run) for run in left]
    for number, run in enumerate(left):
        ahead = sum(expected[number:])
        share = f", {100 * run.fraction:g}% of the labels" if run.fraction != 1 else ""
        place = f"{len(plan.runs) - len(left) + number + 1} of {len(plan.runs)}"
        context.console.rule(f"{place}: {escape(run.setting)}{share}, seed {run.seed}; about {duration(ahead)} left")
        try:
            done = _train(run, context)
        except UserError as error:
            if state_of(run.path) != "failed":
                raise
            context.console.print(f"[yellow]note:[/] {escape(str(error))}", highlight=False)
            continue
        if done.status["state"] != "finished":
            return False
    return True


def _train(run: PlannedRun, context: Context) -> Run:
    if state_of(run.path) != "not started":
        return resume(run.path, console=context.console)
    recipe = context.speeds[kind(run.recipe)].pinned(run.recipe)
    if isinstance(recipe, SegmentationRecipe):
        assert isinstance(context.images, MaskedSet)
        return train_segmenter_on(context.images, context.data, recipe, run.path, context.console)
    assert isinstance(context.images, ImageSet)
    return train_on(context.images, context.data, recipe, run.path, context.console)


def side_by_side(plan: Plan, context: Context, jobs: int) -> bool:
    """Does what is left in processes, `jobs` at a time, each on a GPU or on its share of the cores, and of the memory.

    Ctrl-C reaches all of them; each saves what it has done. False then.
    """
    left = [run for run in plan.runs if state_of(run.path) != "finished"]
    slots: SimpleQueue[int] = SimpleQueue()
    for slot in range(jobs):
        slots.put(slot)
    stopped = threading.Event()
    gpus = devices() if _gpu() else 0

    def work(run: PlannedRun) -> None:
        if stopped.is_set():
            return
        slot = slots.get()
        try:
            command = [sys.executable, "-m", "snellen", "train"]
            if state_of(run.path) == "not started":
                recipe = context.speeds[kind(run.recipe)].pinned(run.recipe)
                file = run.path.parent / f"{run.path.name}.yaml"
                write_text(file, dump(recipe))
                command += [str(file), str(context.data), "--out", str(run.path)]
            else:
                command += ["--resume", str(run.path)]
            own = {"CUDA_VISIBLE_DEVICES": str(slot % gpus)} if gpus else {}
            shares = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // jobs)), JOBS: str(jobs)}
            log = run.path.parent / f"{run.path.name}.log"
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("a") as file_:
                subprocess.run(command, stdout=file_, stderr=file_, env=os.environ | shares | own, check=False)
            context.console.print(f"{escape(run.path.name)}: {state_of(run.path)}", highlight=False)
        finally:
            slots.put(slot)

    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(work, run) for run in left]
        try:
            for future in futures:
                future.result()
        except KeyboardInterrupt:
            stopped.set()
    unstarted = [run for run in left if state_of(run.path) == "not started"]
    if unstarted and not stopped.is_set():
        log = unstarted[0].path.parent / f"{unstarted[0].path.name}.log"
        raise UserError(f"{unstarted[0].path.name} could not be started; {log} says why.")
    return not stopped.is_set() and all(state_of(run.path) in {"finished", "failed"} for run in left)


def _gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def devices() -> int:
    """How many runs there are devices for."""
    import torch

    return max(1, torch.cuda.device_count()) if _gpu() else 1


def training_paths(images: ImageSet | MaskedSet) -> list[Path]:
    """The files of the training images, absolute: they are listed for readers with a root of their own."""
    root = images.root.resolve()
    if isinstance(images, MaskedSet):
        return [root / sample.image for sample in images.train]
    return [root / sample.path for sample in images.train]
