"""Several processes that train a run together, one per device: started here, or by torchrun or SLURM.

The first process sets the run up and writes its folder; the others read it there. Then they connect, and each trains on
its part of every batch. When training ends, the first goes on alone.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from snellen import ranks
from snellen.engine.loop import Job
from snellen.engine.recipe import CommonRecipe
from snellen.engine.sharding import shard
from snellen.errors import UserError
from snellen.words import first_line

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from torch.distributed import Store

SET_UP = timedelta(days=2)  # so long the others wait for the first, which may decode many images
_STEP = timedelta(minutes=10)  # and so long for each other in a step
_END = timedelta(seconds=10)  # for the others to leave by themselves
_MODULE = "snellen.commands.worker"
_FAILED = "failed"  # key of the store: what has ended another process than the first


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
            with suppress(RuntimeError):
                _announce(self._store, self._trainings, "")
                if self._gone(self._store) is None:  # one that was killed does not leave
                    self._store.wait([f"left.{rank}" for rank in range(1, self.size)], _END)
        for child in self._children:
            try:
                child.wait(1)
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
            self._store = join() if size_given() > 1 else self._start()
        _announce(self._store, self._trainings, str(job.path.resolve()))
        self._trainings += 1
        try:
            self._wait_until_ready(self._store)
            with connection(self._store, self._trainings, job) as together:
                yield together
        except RuntimeError as error:
            time.sleep(0.5)  # a process that was killed is seen a moment later
            gone = self._gone(self._store)
            if gone is None and not _is_lost(error):
                raise
            raise UserError(gone or "Another process of this run has ended, or cannot be reached.") from error

    def _start(self) -> Store:
        from torch.distributed import TCPStore

        store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        common = {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(store.port),
            "WORLD_SIZE": str(self.size),
            "LOCAL_WORLD_SIZE": str(self.size),
        }
        os.environ.update(common | {"RANK": "0", "LOCAL_RANK": "0"})
        for rank in range(1, self.size):
            environment = os.environ | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            # A session of its own: Ctrl-C reaches the first process alone, which tells the others.
            command = [sys.executable, "-m", _MODULE]
            self._children.append(subprocess.Popen(command, env=environment, start_new_session=True))
        return _of_this_attempt(store)

    def _wait_until_ready(self, store: Store) -> None:
        """Returns when all others have read their images. Raises UserError if one of them ends."""
        keys = [_ready(self._trainings, rank) for rank in range(1, self.size)]
        while not store.check(keys):
            gone = self._gone(store)
            if gone is not None:
                raise UserError(gone)
            time.sleep(0.1)

    def _gone(self, store: Store) -> str | None:
        """Which of the other processes has ended, in words."""
        if store.check([_FAILED]):
            return store.get(_FAILED).decode()
        for rank, child in enumerate(self._children, start=1):
            if child.poll() is not None:
                return f"Process {rank} of {self.size} (from 0) has ended with exit code {child.returncode}."
        return None


def announced(store: Store) -> Iterator[Path]:
    """The runs that the first process announces to the others; ends when it has finished."""
    for number in range(10**9):
        store.wait([f"run{number}"], SET_UP)
        path = store.get(f"run{number}").decode()
        if not path:
            store.set(f"left.{os.environ['RANK']}", "")
            return
        yield Path(path)


def _announce(store: Store, number: int, path: str) -> None:
    store.set(f"run{number}", path)


def _ready(number: int, rank: int | str) -> str:
    return f"ready{number}.{rank}"


def join(timeout: timedelta = SET_UP) -> Store:
    """What the processes of a run find each other by, from the environment that torchrun sets.

    timeout: how long to wait for the first process. Raises UserError after that.
    """
    from torch.distributed import DistError, TCPStore

    address, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT")
    if address is None or port is None:
        raise UserError("MASTER_ADDR and MASTER_PORT: expected the host of the first process and a free port there.")
    is_elastic = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"  # torchrun's agent holds the store
    try:
        store = TCPStore(
            address,
            int(port),
            is_master=not is_elastic and os.environ["RANK"] == "0",
            timeout=timeout,
            wait_for_workers=False,
        )
    except (DistError, ValueError) as error:
        reason = first_line(error)
        raise UserError(f"{address}:{port}: the processes of this run cannot meet there ({reason}).") from error
    return _of_this_attempt(store)


def _of_this_attempt(store: Store) -> Store:
    """The store without what an attempt that torchrun has restarted has left there."""
    from torch.distributed import PrefixStore

    return PrefixStore(f"snellen{os.environ.get('TORCHELASTIC_RESTART_COUNT', '')}", store)


@contextmanager
def following(store: Store) -> Iterator[None]:
    """Around all that another process than the first does. If it fails, the first tells the user why."""
    try:
        yield
    except UserError as error:
        try:
            store.set(_FAILED, f"Process {os.environ['RANK']} of {os.environ['WORLD_SIZE']} (from 0): {error}")
        except RuntimeError:
            raise error from None
        raise SystemExit(1) from error
    except RuntimeError as error:
        if not _is_lost(error):
            raise
        raise UserError("another process of this run has ended, or cannot be reached.") from error


def _is_lost(error: RuntimeError) -> bool:
    from torch.distributed import DistError

    return isinstance(error, DistError) or "gloo" in str(error)


@contextmanager
def connection(store: Store, number: int, job: Job) -> Iterator[Job]:
    """Connects this process with the others for one training, the `number`-th of the command from 1."""
    from torch import distributed

    store.set(_ready(number, os.environ["RANK"]), "")
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
        if job.recipe.hardware.sharded:
            shard(job.model, job.optimizer, job.ema)
            yield job
            return
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
