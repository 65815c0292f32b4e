"""The device that a run uses, and Lightning Fabric set up for it."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import torch

from snellen.engine.spec import HardwareSpec
from snellen.errors import UserError
from snellen.words import counted

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def find_device(spec: HardwareSpec) -> torch.device:
    """The device that `spec` names, or the best one available. Raises UserError if the named one is missing."""
    if spec.device == "auto":
        # Of several processes on one machine, each has a GPU of its own.
        index = int(os.environ.get("LOCAL_RANK", "0"))
        return torch.device("cuda", index) if torch.cuda.is_available() else torch.device("cpu")
    device = torch.device(spec.device)
    if device.type == "cuda":
        count = torch.cuda.device_count()
        index = device.index or 0
        if index >= count:
            raise UserError(
                f"hardware.device={spec.device}: {counted(count, 'CUDA device')} here. Try hardware.device=auto"
            )
        return torch.device("cuda", index)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError("hardware.device=mps: Apple's MPS is not available here. Try hardware.device=auto")
    return device


def prepare_process(spec: HardwareSpec, resumed: bool = False) -> None:
    """Sets threads and determinism for the whole process.

    Raises UserError for more threads than there are cores; a resumed run, which may come from a larger machine, gets as
    many as are available.
    """
    cores = os.cpu_count() or 1
    if spec.threads is not None:
        if spec.threads > cores and not resumed:
            raise UserError(f"hardware.threads={spec.threads}: this machine has {cores} cores; expected 1 to {cores}.")
        torch.set_num_threads(min(spec.threads, cores))
    elif spec.devices > 1:
        torch.set_num_threads(max(1, cores // spec.devices))
    # cuBLAS reads this when it creates its first handle; without it, deterministic matrix products are refused.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(spec.deterministic, warn_only=True)
    # Filling memory that is written before it is read would only cost time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = not spec.deterministic
    torch.set_float32_matmul_precision("high")


def make_fabric(device: torch.device, precision: str) -> Fabric:
    """Fabric on one device."""
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import LightningEnvironment

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces each precision plugin
    devices: int | list[int] = [device.index or 0] if device.type == "cuda" else 1
    return Fabric(
        accelerator=device.type,
        devices=devices,
        precision="bf16-mixed" if precision == "bf16" else "32-true",
        plugins=[LightningEnvironment()],  # a scheduler's variables, such as SLURM_NTASKS, are about another process
    )


def synchronise(device: torch.device) -> None:
    """Waits until the device has finished its queued work; for timing."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
