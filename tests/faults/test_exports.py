"""An export that is killed or has no room: the file is there whole or not at all, and the same command mends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from rich.console import Console
from tests.hardware import FP32
from tests.recipes import DIGITS

import snellen
from snellen import Run

QUIET = Console(quiet=True)
# From this moment on: a file may hold so many bytes, or the process is killed before or after its rename.
FULL = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
FULL += "resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))\n"
KILLED = "import os, pathlib, signal; die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
MOMENTS = {
    "before it is brought to the disk": "os.fsync = die\n",
    "before its rename": "pathlib.Path.replace = die\n",
    "after its rename": "replace = pathlib.Path.replace\npathlib.Path.replace = lambda *a: die(replace(*a))\n",
}


@pytest.fixture(scope="module")
def run(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return snellen.train(
        digits, DIGITS | {"hardware": FP32}, out=tmp_path_factory.mktemp("runs") / "run", console=QUIET
    )


def export(start: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """`snellen export ARGUMENTS` in a process that begins with `start`."""
    command = (
        f"{start}import sys; from snellen.cli import main; sys.argv = ['snellen', 'export', *sys.argv[1:]]; main()"
    )
    arguments = ("-c", command, *arguments)
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "999"},
    )


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--int8"], ["--format", "torch"]], ids=["onnx", "int8", "torch"])
@pytest.mark.parametrize("size", [0, 20_000])
def test_a_full_disk_leaves_the_file_that_was_there(run: Run, options: list[str], size: int, tmp_path: Path) -> None:
    out = tmp_path / ("x.pt2" if "torch" in options else "x.onnx")
    out.write_bytes(b"another file")
    ended = export(FULL.format(size=size), run.path, "--out", out, "--force", *options)
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    # With no room for a single byte, PyTorch already lacks a folder for temporary files.
    assert "the disk is full" in ended.stderr or (not size and "No usable temporary directory" in ended.stderr)
    assert out.read_bytes() == b"another file"
    assert list(tmp_path.iterdir()) == [out], "no temporary file is left"


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_leaves_a_whole_file_or_none(run: Run, moment: str, tmp_path: Path) -> None:
    out = tmp_path / "x.onnx"
    ended = export(KILLED + MOMENTS[moment], run.path, "--out", out)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert out.exists() == (moment == "after its rename")
    assert len(list(tmp_path.iterdir())) == 1
    other = tmp_path / f".x.onnx.{os.getpid()}.1.tmp"
    other.touch()  # of a process that still runs
    ended = export("", run.path, "--out", out, "--force")
    assert ended.returncode == 0, ended.stderr
    onnx.checker.check_model(onnx.load(out))
    assert sorted(tmp_path.iterdir()) == [other, out], "what the killed one left is gone"
