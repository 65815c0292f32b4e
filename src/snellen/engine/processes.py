"""Several processes that train a run together, one per device: started here, or by torchrun or SLURM.

The first process sets the run up and writes its folder; the others read it there. Then they connect, and each trains on
its part of every batch. When training ends, the first goes on alone.
"""

from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from snellen import ranks
from snellen.engine.loop import Job
from snellen.engine.recipe import CommonRecipe
from snellen.errors import UserError

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from torch.distributed import Store

_SET_UP = timedelta(days=2)  # so long the others wait for the first, which may decode many images
_STEP = timedelta(minutes=10)  # and so long for each other in a step
_END = 10.0  # seconds for the others to leave by themselves
_MODULE = "snellen.commands.worker"


def is_follower() -> bool:
    """Whether another process of the same run comes before this one and sets it up."""
    return size_given() > 1 and int(os.environ["RANK"]) > 0


def size_given() -> int:
    """How many processes torchrun, srun, or the first process, has started; SLURM's variables are read as theirs."""
    # srun alone sets the number of tasks of its step; SLURM_NTASKS is also set in a batch script, a single process.
    if "WORLD_SIZE" not in os.environ and int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        names = {"RANK": "SLURM_PROCID", "LOCAL_RANK": "SLURM_LOCALID", "WORLD_SIZE": "SLURM_STEP_NUM_TASKS"}
        os.environ.update({name: os.environ[source] for name, source in names.items()})
        os.environ.setdefault("LOCAL_WORLD_SIZE", os.environ.get("SLURM_NTASKS_PER_NODE", os.environ["WORLD_SIZE"]))
    return int(os.environ.get("WORLD_SIZE", "1"))


def check_devices(recipe: CommonRecipe, device: torch.device) -> None:
    """Raises UserError for more processes than images in a batch, or than GPUs on this machine."""
    given = size_given()
    count = given if given > 1 else recipe.hardware.devices
    if count > recipe.batch_size:
        raise UserError(
            f"hardware.devices: {count} processes for batches of {recipe.batch_size} images, which are divided among "
            f"them. Expected at most {recipe.batch_size}."
        )
    here = torch.cuda.device_count() if device.type == "cuda" else count
    if given == 1 and count > here:
        raise UserError(f"hardware.devices={count}: expected at most {here}, the GPUs of this machine.")


class Processes:
    """The processes of a run, as the first one sees them. Entered once for a command; stops the others when left."""

    def __init__(self, devices: int) -> None:
        given = size_given()
        self.size = given if given > 1 else devices
        self._children: list[subprocess.Popen[bytes]] = []
        self._store: Store | None = None
        self._trainings = 0

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        if self._store is not None:
            _announce(self._store, self._trainings, "")
        deadline = time.monotonic() + _END
        for child in self._children:
            try:
                child.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
        if self._children:
            for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
                os.environ.pop(name, None)

    @contextmanager
    def connected(self, job: Job) -> Iterator[Job]:
        """The job as trained by all processes together; connected until left. Raises UserError if one of them ends."""
        if self.size == 1:
            yield job
            return
        if self._store is None:
            if size_given() == 1:
                self._start()
            self._store = join()
        _announce(self._store, self._trainings, str(job.path.resolve()))
        self._trainings += 1
        with connection(self._store, self._trainings, job) as together:
            try:
                yield together
            except RuntimeError as error:
                gone = self._gone()
                if gone is None and not (isinstance(error, torch.distributed.DistError) or "gloo" in str(error)):
                    raise
                raise UserError(f"{gone or 'Another process of this run has ended, or cannot be reached'}.") from error

    def _start(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        common = {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "WORLD_SIZE": str(self.size),
            "LOCAL_WORLD_SIZE": str(self.size),
        }
        os.environ.update(common | {"RANK": "0", "LOCAL_RANK": "0"})
        for rank in range(1, self.size):
            environment = os.environ | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            # A session of its own: Ctrl-C reaches the first process alone, which tells the others.
            command = [sys.executable, "-m", _MODULE]
            self._children.append(subprocess.Popen(command, env=environment, start_new_session=True))

    def _gone(self) -> str | None:
        """Which of the started processes has ended, in words."""
        time.sleep(0.5)  # a process that was killed is seen a moment later
        for rank, child in enumerate(self._children, start=1):
            if child.poll() is not None:
                return f"Process {rank} of {self.size} (from 0) has ended with exit code {child.returncode}"
        return None


def announced(store: Store) -> Iterator[Path]:
    """The runs that the first process announces to the others; ends when it has finished."""
    for number in range(10**9):
        store.wait([f"run{number}"], _SET_UP)
        path = store.get(f"run{number}").decode()
        if not path:
            return
        yield Path(path)


def _announce(store: Store, number: int, path: str) -> None:
    store.set(f"run{number}", path)


def join() -> Store:
    """What the processes of a run find each other by, from the environment that torchrun sets."""
    from torch.distributed import rendezvous

    store: Store = next(rendezvous("env://", timeout=_SET_UP))[0]
    return store


@contextmanager
def connection(store: Store, number: int, job: Job) -> Iterator[Job]:
    """Connects this process with the others for one training, the `number`-th of the command from 1."""
    from torch import distributed

    backend = "nccl" if job.feed.device.type == "cuda" else "gloo"
    distributed.init_process_group(
        backend,
        store=distributed.PrefixStore(f"training{number}", store),
        rank=int(os.environ["RANK"]),
        world_size=int(os.environ["WORLD_SIZE"]),
        timeout=_STEP,
    )
    try:
        ranks.connect_control()
        yield dataclasses.replace(
            job, fabric=_fabric(job.feed.device, job.mode.precision, job.task.uses_all_parameters)
        )
    finally:
        distributed.destroy_process_group()


def _fabric(device: torch.device, precision: str, uses_all_parameters: bool) -> Fabric:
    """Fabric with data-parallel training over the connected processes."""
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import LightningEnvironment
    from lightning_fabric.strategies import DDPStrategy

    local = int(os.environ.get("LOCAL_WORLD_SIZE", os.environ["WORLD_SIZE"]))
    options: dict[str, Any] = {"forward_sync_buffers": False, "find_unused_parameters": not uses_all_parameters}
    fabric = Fabric(
        accelerator=device.type,
        devices=local,
        num_nodes=int(os.environ["WORLD_SIZE"]) // local,
        strategy=DDPStrategy(cluster_environment=LightningEnvironment(), **options),
        precision="bf16-mixed" if precision == "bf16" else "32-true",
    )
    fabric.launch()
    return fabric
