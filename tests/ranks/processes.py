"""Functions run in several processes that are connected as in a run of several devices, on the CPU."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from multiprocessing import set_forkserver_preload
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def in_processes(function: Callable[..., Any], count: int, *arguments: Any) -> list[Any]:
    """function(*arguments), of tensors on the CPU, in each of `count` processes: what they return, by rank."""
    # Not by a fork of this process: that hangs where other tests have left threads behind.
    set_forkserver_preload(["torch", "snellen.engine.sharding", "snellen.ranks"])
    with tempfile.TemporaryDirectory() as folder:
        mp.start_processes(_run, (function, count, Path(folder), arguments), nprocs=count, start_method="forkserver")
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(count)]


def _run(rank: int, function: Callable[..., Any], count: int, folder: Path, arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", store=dist.FileStore(str(folder / "store"), count), rank=rank, world_size=count)
    torch.save(function(*arguments), folder / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()
