"""A folder that is mounted read-only, which even root cannot write to."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from tests.recipes import DIGITS

from snellen import UserError, train
from snellen.commands import execution
from snellen.commands.train import resume
from snellen.engine.interrupt import StopRequest

QUIET = Console(quiet=True)


class Stop(StopRequest):
    """Asks to stop after the first step."""

    def __enter__(self) -> StopRequest:
        self.requested = True
        return self


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """A folder, and the same folder read-only."""
    folder, read_only = tmp_path / "folder", tmp_path / "read-only"
    folder.mkdir()
    read_only.mkdir()
    if shutil.which("mount") is None:
        pytest.skip("there is no mount here")
    bound = subprocess.run(["mount", "--bind", folder, read_only], capture_output=True, check=False)
    if bound.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", read_only], check=True)
        yield folder, read_only
    finally:
        subprocess.run(["umount", read_only], check=True)


def test_a_run_is_neither_started_nor_resumed_there(mounted: tuple[Path, Path], digits: Path) -> None:
    folder, read_only = mounted
    with pytest.raises(UserError, match=r"cannot be created \(Read-only file system\)\. Choose another folder"):
        train(digits, DIGITS, out=read_only / "new", console=QUIET)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution, "StopRequest", Stop)
        train(digits, DIGITS, out=folder / "run", console=QUIET)
    with pytest.raises(UserError, match=r"run: cannot be written \(Read-only file system\)"):
        resume(read_only / "run", console=QUIET)
    assert resume(folder / "run", console=QUIET).status.finished
