"""The runs of a study as tasks of a Ray cluster, each on a machine that has room for it.

A run whose worker or machine dies is given to another, which resumes it from its last checkpoint.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.markup import escape

from snellen.commands.cluster_worker import Order, train_here
from snellen.commands.study_runs import Context
from snellen.engine.device import find_device
from snellen.engine.environment import versions
from snellen.engine.relevance import step_key
from snellen.errors import UserError
from snellen.study.directory import state_of
from snellen.study.plan import Plan, PlannedRun
from snellen.tasks.setup import absolute
from snellen.words import counted, first_line

_ATTEMPTS = 4  # workers that may die of one run before it is left as it is
_STORE = 80 * 2**20  # bytes; tasks exchange nothing but a few words
_START = "To start a cluster: `ray start --head`. For one on this machine only: --ray local"
_SEEN = 90  # seconds until a file that another machine has written is seen here: NFS caches what is not there for 60


def check_address(address: str) -> None:
    """Raises UserError if Ray is not installed, or if nothing answers at the address; Ray itself tries for minutes."""
    _import_ray()
    if address in {"auto", "local"}:
        return
    host, _, port = address.rpartition(":")
    if not port.isdigit() or "/" in host:
        raise UserError(f"--ray {address}: expected auto, local, or the HOST:PORT that `ray start --head` prints.")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"--ray {address}: nothing answers there ({error}). {_START}") from error


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise UserError("--ray: Ray is not installed. Install it with: pip install 'snellen[ray]'") from error
    return ray


@contextmanager
def connected(address: str, jobs: int, folder: Path, plan: Plan, context: Context) -> Iterator[RayTasks]:
    """The cluster at `address`, or for "local" one that is started on this machine, until left.

    jobs: most runs at a time. folder: of the study. Raises UserError if there is no such cluster, or if no machine of
    it has room for a run.
    """
    ray = _import_ray()
    options: dict[str, Any] = {}
    if address == "local":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        options = {"include_dashboard": False, "object_store_memory": _STORE}
    on_terminate = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", **options)
    except (ConnectionError, ImportError, RuntimeError, ValueError) as error:
        raise UserError(f"--ray {address}: {first_line(error).rstrip('.')}. {_START}") from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_terminate)  # Ray's would end the command at once
    try:
        tasks = RayTasks(ray, jobs, folder, context)
        tasks.check_room(plan)
        yield tasks
    finally:
        ray.shutdown()


class RayTasks:
    """Runs as tasks of the connected Ray cluster; Ray starts each when a machine has its CPUs and GPUs free."""

    def __init__(self, ray: Any, jobs: int, folder: Path, context: Context) -> None:
        self.jobs = jobs
        self._ray = ray
        self._folder = folder.resolve()
        self._context = context
        # A new process for each run, and no retry by Ray: it would repeat without a limit what runs out of memory.
        self._task = ray.remote(max_calls=1, max_retries=0, scheduling_strategy="SPREAD")(train_here)
        self._submitted: list[Any] = []
        self._stopped = False
        self._lock = threading.Lock()

    def check_room(self, plan: Plan) -> None:
        """Raises UserError if an unfinished run needs more CPUs or GPUs than any machine of the cluster has."""
        machines = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        for run in plan.runs:
            if state_of(run.path) == "finished":
                continue
            cpus, gpus = self._needs(run)
            if not any(machine.get("CPU", 0) >= cpus and machine.get("GPU", 0) >= gpus for machine in machines):
                needs = counted(cpus, "CPU") + (f" and {counted(gpus, 'GPU')}" if gpus else "")
                raise UserError(
                    f"setting '{run.setting}': a run takes {needs}, and no machine of the Ray cluster has as many. Set "
                    "changes.hardware.threads=N (CPUs of each process) or changes.hardware.devices=N (processes) lower."
                )

    def train(self, run: PlannedRun) -> None:
        """Trains or resumes a run, again on another worker if one dies; returns when a task has ended otherwise."""
        exceptions = self._ray.exceptions
        for attempt in range(1, _ATTEMPTS + 1):
            with self._lock:
                if self._stopped:
                    return
                task = self._submit(run)
            try:
                _wait_until_seen(run.path, self._ray.get(task))
                return
            except exceptions.TaskCancelledError:
                return
            except exceptions.RayTaskError as error:
                if isinstance(error.cause, UserError):
                    raise error.cause from None
                reason = str(error).splitlines()[-1]
                raise UserError(
                    f"{run.path.name}: a machine of the Ray cluster could not start it ({reason}). Install the same "
                    "snellen on all of them."
                ) from error
            except exceptions.RayError as error:
                more = "it is resumed by another" if attempt < _ATTEMPTS else "run the same command again to resume it"
                self._context.console.print(
                    f"[yellow]note:[/] {escape(run.path.name)}: worker {attempt} of {_ATTEMPTS} has died "
                    f"({type(error).__name__}); {more}",
                    highlight=False,
                )

    def stop(self) -> None:
        """Interrupts all tasks, which save their progress; those that wait for a machine are dropped."""
        with self._lock:
            self._stopped = True
            for task in self._submitted:
                self._ray.cancel(task)

    def _submit(self, run: PlannedRun) -> Any:
        context = self._context
        cpus, gpus = self._needs(run)
        threads = cpus // run.recipe.hardware.devices
        recipe = context.kind.data.portable(context.recipe(run)).with_part("hardware", threads=threads)
        order = Order(
            run=run.path.resolve(),
            study=self._folder,
            fields=recipe.model_dump(mode="json"),
            data=absolute(context.data),
            fingerprint=context.images.fingerprint,
            threads=threads,
            cpus=cpus,
            gpus=gpus,
            versions=versions(),
            command=sys.argv,
        )
        task = self._task.options(num_cpus=cpus, num_gpus=gpus, name=run.path.name).remote(order)
        self._submitted.append(task)
        return task

    def _needs(self, run: PlannedRun) -> tuple[int, int]:
        """CPUs and GPUs of a run: for each of its processes the threads it would have here, so that results agree."""
        hardware = run.recipe.hardware
        threads = self._context.speeds[step_key(run.recipe)].threads
        if find_device(hardware).type != "cuda":
            return hardware.devices * threads, 0
        share = max(1, (os.cpu_count() or 1) // torch.cuda.device_count())
        return hardware.devices * (hardware.threads or min(threads, share)), hardware.devices


def _wait_until_seen(run: Path, state: str) -> None:
    """Returns when this machine sees the state that a run has on the one that has trained it."""
    deadline = time.monotonic() + _SEEN
    while state_of(run) != state and time.monotonic() < deadline:
        time.sleep(1)
