"""What a run was computed with: versions, hardware, code."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from snellen.data.fingerprint import text_hash

_PACKAGES = ["torch", "torchvision", "timm", "lightning-fabric", "numpy", "scikit-learn", "scipy", "openTSNE"]


def describe(device: torch.device) -> dict[str, Any]:
    """Versions, processor, cores, GPU and the git commit of the working folder, as JSON values."""
    return {
        "snellen": importlib.metadata.version("snellen"),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "platform": platform.platform(),
        "cpu": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "device": str(device),
        "git": _git(),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }


def arithmetic_unit(device: torch.device) -> dict[str, Any]:
    """What determines the speed of arithmetic: processor or GPU, its instructions, PyTorch, threads; as JSON values."""
    unit: dict[str, Any] = {"device": device.type, "torch": torch.__version__, "threads": torch.get_num_threads()}
    if device.type == "cuda":
        capability = list(torch.cuda.get_device_capability(device))
        return unit | {"gpu": torch.cuda.get_device_name(device), "capability": capability}
    return unit | {"cpu": processor(), "capability": torch.backends.cpu.get_cpu_capability(), "flags": _cpu_flags()}


def _cpu_flags() -> str:
    """A hash of the instruction sets that the CPU has; '' if they cannot be read."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):  # x86, ARM
                return text_hash(" ".join(sorted(line.partition(":")[2].split())))[:16]
    except OSError:
        pass  # not Linux
    return ""


def peak_memory_mib(device: torch.device) -> float:
    """Peak memory so far in MiB: of the GPU on CUDA, otherwise of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # bytes on macOS, KiB on Linux


def processor() -> str:
    """The CPU's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def _git() -> dict[str, Any] | None:
    try:
        commit = _git_output("rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_git_output("status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return None  # no git here, or not a repository


def _git_output(*arguments: str) -> str:
    result = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=True)
    return result.stdout.strip()
