"""The runs of a study, one after the other or in parallel; finished runs are skipped."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol

import torch
from rich.console import Console
from rich.markup import escape

from snellen.commands.pretrain import pretrain
from snellen.commands.train import resume, train_on
from snellen.data.store import JOBS
from snellen.engine.recipe import CommonRecipe
from snellen.engine.relevance import step_key
from snellen.errors import UserError
from snellen.files import write_text
from snellen.recipe.load import dump
from snellen.runs import Run
from snellen.study.directory import state_of
from snellen.study.plan import Plan, PlannedPretraining, PlannedRun
from snellen.study.timing import Speed
from snellen.tasks.arithmetic import in_mode
from snellen.tasks.kinds import AnyKind
from snellen.words import duration


@dataclass(frozen=True)
class Context:
    """What all runs of a study share. kind: of its images. speeds: by kind of step."""

    kind: AnyKind
    images: Any
    data: str | Path
    speeds: Mapping[str, Speed]
    console: Console

    def recipe(self, run: PlannedRun) -> CommonRecipe:
        """The recipe of a run in the mode of its network, so that no run measures it again."""
        return in_mode(run.recipe, self.speeds[step_key(run.recipe)].mode)

    def seconds(self, run: PlannedRun) -> float:
        """The expected seconds of a run."""
        train, scored = len(self.images.train), len(self.images.validation)
        return self.speeds[step_key(run.recipe)].seconds(run.recipe, round(run.fraction * train), scored)


def run_pretraining(planned: PlannedPretraining | None, images: Any, kind: AnyKind, console: Console) -> bool:
    """Runs the pretraining unless it is finished. Returns False if it was interrupted. images, kind: of the study."""
    if planned is None or state_of(planned.path) == "finished":
        return True
    console.rule("pretraining")
    if state_of(planned.path) == "not started":
        fields = planned.recipe.model_dump(mode="json")
        source = planned.source
        if source is None:
            source = str(list_images(images.training_files, planned.path.with_suffix(".txt")))
        run = pretrain(source, fields, out=planned.path, console=console)
    else:
        run = resume(planned.path, console=console)
    return run.status.finished


def one_by_one(plan: Plan, context: Context) -> bool:
    """Trains the unfinished runs in this process. Returns False if interrupted."""
    remaining = [run for run in plan.runs if state_of(run.path) != "finished"]
    expected = [context.seconds(run) for run in remaining]
    for number, run in enumerate(remaining):
        seconds = sum(expected[number:])
        share = f", {100 * run.fraction:g}% of the labels" if run.fraction != 1 else ""
        position = f"{len(plan.runs) - len(remaining) + number + 1} of {len(plan.runs)}"
        context.console.rule(
            f"{position}: {escape(run.setting)}{share}, seed {run.seed}; about {duration(seconds)} left"
        )
        try:
            trained = _train(run, context)
        except UserError as error:
            if state_of(run.path) != "failed":
                raise
            context.console.print(f"[yellow]note:[/] {escape(str(error))}", highlight=False)
            continue
        if not trained.status.finished:
            return False
    return True


def _train(run: PlannedRun, context: Context) -> Run:
    if state_of(run.path) != "not started":
        return resume(run.path, console=context.console)
    return train_on(context.kind, context.images, context.data, context.recipe(run), run.path, context.console)


class Executor(Protocol):
    """Where runs are trained side by side, each in a process of its own, `jobs` at a time."""

    jobs: int

    def train(self, run: PlannedRun) -> None:
        """Trains or resumes a run; returns when its process has ended, however it ended."""

    def stop(self) -> None:
        """Makes the processes save their progress and end."""


def side_by_side(plan: Plan, context: Context, executor: Executor) -> bool:
    """Trains the unfinished runs. Returns False if Ctrl-C has interrupted them; each has saved its progress then."""
    remaining = [run for run in plan.runs if state_of(run.path) != "finished"]
    stopped = threading.Event()
    interrupted = False

    def work(run: PlannedRun) -> None:
        if stopped.is_set():
            return
        executor.train(run)
        state = state_of(run.path)
        if not (stopped.is_set() and state == "not started"):
            context.console.print(f"{escape(run.path.name)}: {state}", highlight=False)

    with ThreadPoolExecutor(executor.jobs) as pool:
        futures = [pool.submit(work, run) for run in remaining]
        try:
            for future in as_completed(futures):
                future.result()
        except KeyboardInterrupt:
            interrupted = True
        finally:
            stopped.set()
            executor.stop()
    unstarted = [run for run in remaining if state_of(run.path) == "not started"]
    if unstarted and not interrupted:
        raise UserError(f"{unstarted[0].path.name} could not be started; see {log_of(unstarted[0].path)}")
    return not interrupted and all(state_of(run.path) in {"finished", "failed"} for run in remaining)


class LocalProcesses:
    """Runs on this machine, `jobs` at a time, each on GPUs of its own or on its share of cores and memory."""

    def __init__(self, context: Context, jobs: int) -> None:
        self.jobs = jobs
        self._context = context
        self._gpus = torch.cuda.device_count()
        self._slots: SimpleQueue[int] = SimpleQueue()
        self._processes: list[subprocess.Popen[bytes]] = []
        for slot in range(jobs):
            self._slots.put(slot)

    def train(self, run: PlannedRun) -> None:
        """Trains or resumes a run in a process of its own."""
        slot = self._slots.get()
        try:
            command = [sys.executable, "-m", "snellen", "train"]
            if state_of(run.path) == "not started":
                recipe_file = run.path.parent / f"{run.path.name}.yaml"
                write_text(recipe_file, dump(self._context.recipe(run)))
                command += [str(recipe_file), str(self._context.data), "--out", str(run.path)]
            else:
                command += ["--resume", str(run.path)]
            shares = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // self.jobs)), JOBS: str(self.jobs)}
            environment = os.environ | shares | self._visible_gpus(slot, run.recipe.hardware.devices)
            log = log_of(run.path)
            log.parent.mkdir(parents=True, exist_ok=True)
            with (
                log.open("a") as output,
                subprocess.Popen(command, stdout=output, stderr=output, env=environment) as process,
            ):
                self._processes.append(process)
        finally:
            self._slots.put(slot)

    def stop(self) -> None:
        """Asks the processes to end: Ctrl-C has reached them too, and asks for no more, but SIGTERM has not."""
        for process in self._processes:
            process.terminate()

    def _visible_gpus(self, slot: int, devices: int) -> dict[str, str]:
        if not self._gpus:
            return {}
        numbers = [(slot * devices + number) % self._gpus for number in range(devices)]
        return {"CUDA_VISIBLE_DEVICES": ",".join(map(str, dict.fromkeys(numbers)))}


def log_of(run: Path) -> Path:
    """What a run that is trained in a process of its own prints."""
    return run.parent / f"{run.name}.log"


def list_images(paths: Iterable[Path], file: Path) -> Path:
    """Writes absolute paths of images to a list for `pretrain`."""
    write_text(file, "".join(f"{path}\n" for path in paths))
    return file
