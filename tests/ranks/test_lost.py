"""A process of a run that dies, fails or reads other images ends the run, which can be resumed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.ranks.test_training import QUIET, _classify, assert_alike
from torch.distributed import Store

from snellen import UserError
from snellen.commands.train import resume
from snellen.engine import processes
from snellen.runs import Run

SCRIPT = """
import sys
from pathlib import Path
from tests.ranks.test_training import _classify
_classify(Path(sys.argv[1]), Path(sys.argv[2]), 3, sys.argv[3] == "sharded")
"""


@pytest.mark.slow
@pytest.mark.parametrize(("devices", "held"), [(2, "whole"), (1, "sharded")])
def test_a_process_that_dies_ends_the_run_which_resumes_with_fewer(
    devices: int, held: str, digits: Path, tmp_path: Path
) -> None:
    alone = _classify(digits, tmp_path / "alone", 1)
    out = tmp_path / "run"
    command = [sys.executable, "-c", SCRIPT, str(digits), str(out), held]
    first = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    steps = out / "steps.csv"
    while not (steps.is_file() and steps.stat().st_size > 100):
        assert first.poll() is None
        time.sleep(0.05)
    workers = subprocess.run(["pgrep", "-P", str(first.pid)], capture_output=True, text=True, check=True).stdout.split()
    os.kill(int(workers[-1]), signal.SIGKILL)
    _, said = first.communicate(timeout=60)
    assert "has ended" in said
    assert f"snellen train --resume {out}" in said
    assert Run(out).status.state == "failed"
    assert_alike(resume(out, devices=devices, console=QUIET), alone)


def _fail(digits: Path, out: Path, reason: str) -> None:
    with pytest.raises(UserError, match=reason) as caught:
        _classify(digits, out, 2)
    assert f"snellen train --resume {out}" in str(caught.value)
    assert Run(out).status.state == "failed"


def test_a_process_that_does_not_start_ends_the_run(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_MODULE", "no_such_module")
    _fail(digits, tmp_path / "run", r"Process 1 of 2 \(from 0\) has ended with exit code 1\.")


@pytest.mark.slow
def test_a_process_that_reads_other_images_ends_the_run(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = tmp_path / "images"
    shutil.copytree(digits, images)
    start = processes.Processes._start

    def start_without_an_image(self: processes.Processes) -> Store:
        (images / "0" / "0.png").unlink()
        return start(self)

    monkeypatch.setattr(processes.Processes, "_start", start_without_an_image)
    _fail(images, tmp_path / "run", r"Process 1 of 2 \(from 0\): .*images have changed")


def test_a_run_is_not_resumed_by_no_process(digits: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"hardware\.devices=0: expected at least 1"):
        resume(tmp_path, devices=0)
