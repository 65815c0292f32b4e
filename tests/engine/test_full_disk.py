"""Files that do not fit, files that were cut off, and who may read what is written."""

from __future__ import annotations

import os
import resource
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from rich.console import Console
from tests.recipes import DIGITS as RECIPE
from torch import nn

from snellen import UserError, train
from snellen.commands import execution
from snellen.commands.train import resume
from snellen.engine.checkpoint import Checkpoint, Progress
from snellen.engine.interrupt import StopRequest
from snellen.files import replacing
from snellen.run.writer import RunWriter
from snellen.runs import Run

QUIET = Console(quiet=True)


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes, which fails as on a full disk: in the middle of writing."""
    handler, limits = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_checkpoint_that_does_not_fit_keeps_the_previous_one(tmp_path: Path) -> None:
    model = nn.Linear(300, 300)
    checkpoint = Checkpoint(RunWriter(tmp_path), model, torch.optim.SGD(model.parameters(), 0.1), None)
    checkpoint.save(Progress(step=1))
    weights = tmp_path / "checkpoints" / "best.safetensors"
    writer = RunWriter(tmp_path)
    writer.weights("checkpoints/best.safetensors", model, {"epoch": "1"})
    previous = weights.read_bytes()
    with at_most(100_000):
        with pytest.raises(UserError, match=r"last\.pt: the disk is full"):
            checkpoint.save(Progress(step=2))
        with pytest.raises(UserError, match=r"best\.safetensors: the disk is full"):
            writer.weights("checkpoints/best.safetensors", model, {"epoch": "2"})
    restored = checkpoint.restore(torch.device("cpu"))
    assert restored is not None
    assert restored.step == 1
    assert weights.read_bytes() == previous
    assert {file.name for file in weights.parent.iterdir()} == {"last.pt", "best.safetensors"}


@pytest.mark.parametrize("size", [20_000, 130_000])
def test_a_run_on_a_full_disk_has_failed_and_resumes_with_space(size: int, digits: Path, tmp_path: Path) -> None:
    reference = train(digits, RECIPE, out=tmp_path / "whole", console=QUIET)
    largest = max(file.stat().st_size for file in (reference.path / "checkpoints").iterdir())
    assert largest > size, "or nothing fails"
    with at_most(size), pytest.raises(UserError, match="the disk is full") as error:
        train(digits, RECIPE, out=tmp_path / "full", console=QUIET)
    assert f"snellen train --resume {tmp_path / 'full'}" in str(error.value)
    run = Run(tmp_path / "full")
    assert run.status.state == "failed"
    assert "the disk is full" in run.status.error
    run = resume(run.path, console=QUIET)
    assert (run.validation().probabilities == reference.validation().probabilities).all()


class StopLater(StopRequest):
    """Asks to stop after the sixth step: in the second epoch."""

    queries = 0

    @property
    def requested(self) -> bool:
        StopLater.queries += 1
        return StopLater.queries > 6

    @requested.setter
    def requested(self, value: bool) -> None:
        pass


@pytest.mark.parametrize("name", ["steps.csv", "epochs.csv", "predictions/correct.u8"])
def test_a_truncated_file_is_not_extended(name: str, digits: Path, tmp_path: Path) -> None:
    reference = train(digits, RECIPE, out=tmp_path / "whole", console=QUIET)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution, "StopRequest", StopLater)
        StopLater.queries = 0
        run = train(digits, RECIPE, out=tmp_path / "run", console=QUIET)
    assert run.status.state == "interrupted"
    file = run.path / name
    content = file.read_bytes()
    assert len(content) > 1
    os.truncate(file, len(content) // 2)
    with pytest.raises(UserError, match=rf"{name}: .* bytes of the .* delete .*checkpoints"):
        resume(run.path, console=QUIET)
    assert file.read_bytes() == content[: len(content) // 2], "nothing is changed"
    shutil.rmtree(run.path / "checkpoints")
    run = resume(run.path, console=QUIET)
    assert (run.validation().probabilities == reference.validation().probabilities).all()
    assert run.steps()["loss"].equals(reference.steps()["loss"])


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_files_have_the_permissions_of_new_files(mask: int, tmp_path: Path) -> None:
    old_mask = os.umask(mask)
    try:
        RunWriter(tmp_path).weights("best.safetensors", nn.Linear(2, 2), {})
        with replacing(tmp_path / "text") as temporary:
            temporary.write_text("text")
    finally:
        os.umask(old_mask)
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o666 & ~mask}
