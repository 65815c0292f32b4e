"""What a run was computed with: versions, hardware, code."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from snellen.data.fingerprint import text_hash
from snellen.engine.loop import Job
from snellen.engine.mode import ModeTiming
from snellen.models.classifier import count_macs, count_parameters
from snellen.models.weights import WeightsReport
from snellen.run.directory import FORMAT
from snellen.run.environment import Environment, Git, InitialWeights

_PACKAGES = ["torch", "torchvision", "timm", "lightning-fabric", "numpy", "scikit-learn", "scipy", "openTSNE"]


def describe(
    job: Job, timings: Sequence[ModeTiming], weights: WeightsReport, input_size: tuple[int, int]
) -> Environment:
    """What a new run is computed with. timings: of the modes. input_size: (height, width) of a scored image."""
    device, network = job.feed.device, job.task.weights(job.model)
    packages = versions()
    return Environment(
        snellen=packages.pop("snellen"),
        python=platform.python_version(),
        packages=packages,
        platform=platform.platform(),
        cpu=processor(),
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
        gpu=torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        device=str(device),
        git=_git(),
        command=" ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        format=FORMAT,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        seed=job.recipe.seed,
        **asdict(job.mode),
        measured=[entry.as_dict() for entry in timings],
        parameters=count_parameters(network),
        trainable_parameters=sum(p.numel() for p in network.parameters() if p.requires_grad),
        macs=count_macs(network, *input_size),
        weights=InitialWeights(weights.source, weights.loaded, weights.missing, weights.unexpected, weights.mismatched),
    )


def versions() -> dict[str, str]:
    """The installed versions of snellen and of the packages that its results depend on."""
    return {name: importlib.metadata.version(name) for name in ("snellen", *_PACKAGES)}


def arithmetic_unit(device: torch.device) -> dict[str, Any]:
    """What determines the speed of arithmetic: processor or GPU, its instructions, PyTorch, threads; as JSON values."""
    unit: dict[str, Any] = {"device": device.type, "torch": torch.__version__, "threads": torch.get_num_threads()}
    if device.type == "cuda":
        capability = list(torch.cuda.get_device_capability(device))
        return unit | {"gpu": torch.cuda.get_device_name(device), "capability": capability}
    return unit | {"cpu": processor(), "capability": torch.backends.cpu.get_cpu_capability(), "flags": _cpu_flags()}


def _cpu_flags() -> str:
    """A hash of the instruction sets that the CPU has; '' if they cannot be read."""
    flags = _cpu_info("flags", "Features")  # x86, ARM
    return "" if flags is None else text_hash(" ".join(sorted(flags.split())))[:16]


def _cpu_info(*names: str) -> str | None:
    """The first entry of /proc/cpuinfo with one of these names; None if there is none, as outside Linux."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(names):
                return line.partition(":")[2].strip()
    return None


def peak_memory_mib(device: torch.device) -> float:
    """Peak memory so far in MiB: of the GPU on CUDA, otherwise of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # bytes on macOS, KiB on Linux


def processor() -> str:
    """The CPU's name."""
    return _cpu_info("model name") or platform.processor() or platform.machine()


def unit_name(device: torch.device) -> str:
    """The name of the GPU, or of the CPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor()


def _git() -> Git | None:
    try:
        changes = _git_output("status", "--porcelain", "--untracked-files=no")
        return Git(_git_output("rev-parse", "HEAD"), dirty=bool(changes))
    except (OSError, subprocess.SubprocessError):
        return None  # no git here, or not a repository


def _git_output(*arguments: str) -> str:
    result = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=True)
    return result.stdout.strip()
