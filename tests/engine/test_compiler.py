"""Machines without a compiler: hardware.compile=true is an error that names it, and `auto` takes another mode."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FIELDS = [
    *("epochs=1", "batch_size=32", "augmentation.size=16", "evaluation.size=16", "model.backbone=airnet"),
    *("model.width=0.125", "hardware.device=cpu", "hardware.threads=1", "hardware.precision=fp32"),
    *("hardware.channels_last=false", "hardware.unfold=false", "snapshots.images=0"),
]
# As on CUDA, where a compiled variant of the fastest mode is tried as well.
MEASURED = """
import torch
from rich.console import Console
from torch import nn
from snellen.engine.measuring import measure
from snellen.engine.precision import Mode, Workload
plain, compiled = Mode("fp32", False, False), Mode("fp32", False, True)
loss = lambda network, images: network(images).square().mean()
work = Workload(nn.Conv2d(3, 4, 3), torch.randn(6, 3, 8, 8), loss, 1, "", 1)
print([str(entry.mode) for entry in measure([plain], lambda mode: [compiled], work, Console(quiet=True))])
"""


def _run_without_compiler(command: list[str], tmp_path: Path) -> subprocess.CompletedProcess[str]:
    none = {"CC": "/nonexistent", "CXX": "/nonexistent", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "inductor")}
    return subprocess.run(
        [sys.executable, *command], env=os.environ | none, capture_output=True, text=True, check=False
    )


@pytest.mark.slow  # importing torch's compiler takes long
def test_the_message_names_what_to_install(digits: Path, tmp_path: Path) -> None:
    command = ["-m", "snellen", "train", "airnet-scratch", str(digits), "--out", str(tmp_path / "run")]
    process = _run_without_compiler([*command, *FIELDS, "hardware.compile=true"], tmp_path)
    output = " ".join(process.stderr.split())
    assert "Traceback" not in output
    assert process.returncode == 2
    assert "hardware.compile=true: torch.compile does not work here (" in output
    assert "No working C++ compiler" in output
    assert "apt install build-essential" in output
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_compiled_mode_is_no_candidate(tmp_path: Path) -> None:
    process = _run_without_compiler(["-c", MEASURED], tmp_path)
    assert process.stdout.strip() == "['fp32']", process.stderr
