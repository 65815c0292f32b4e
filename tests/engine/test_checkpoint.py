"""A checkpoint that is damaged is noticed, and the one before it takes its place."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path

import pytest
import torch
from rich.console import Console
from tests.recipes import DIGITS
from torch import nn

from snellen import UserError, train
from snellen.commands import execution
from snellen.commands.train import resume
from snellen.engine.checkpoint import Checkpoint, Progress, recover, saved_progress
from snellen.engine.interrupt import StopRequest
from snellen.run.writer import RunWriter
from snellen.runs import Run

QUIET = Console(quiet=True)
CPU = torch.device("cpu")


def _saved_twice(folder: Path) -> tuple[Checkpoint, RunWriter]:
    """A run with checkpoints of steps 1 and 2."""
    torch.manual_seed(0)
    model = nn.Linear(5, 3)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.rand(2, 5)).sum().backward()
    optimizer.step()
    writer = RunWriter(folder)
    checkpoint = Checkpoint(writer, model, optimizer, None)
    for step in (1, 2):
        checkpoint.save(Progress(step=step))
    return checkpoint, writer


def test_any_changed_byte_is_noticed_or_changes_nothing(tmp_path: Path) -> None:
    _, writer = _saved_twice(tmp_path)
    last, previous = (tmp_path / "checkpoints" / name for name in ("last.pt", "previous.pt"))
    content, content_before = last.read_bytes(), previous.read_bytes()
    state = torch.load(last, weights_only=True)
    noticed = 0
    for position in range(0, len(content), 31):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        last.write_bytes(damaged)
        note = recover(writer)
        if note is None:
            loaded = torch.load(last, weights_only=True)
            assert repr(loaded) == repr(state), f"byte {position}"
        else:
            noticed += 1
            assert "last.pt was damaged" in note
            assert "after step 1;" in note
            assert last.read_bytes() == content_before
            previous.write_bytes(content_before)
    assert noticed > 50


def test_a_process_killed_between_the_two_renames_has_lost_no_checkpoint(tmp_path: Path) -> None:
    checkpoint, writer = _saved_twice(tmp_path)
    checkpoints = tmp_path / "checkpoints"
    (checkpoints / "last.pt").rename(checkpoints / "previous.pt")
    (checkpoints / ".last.pt.1.2.tmp").write_bytes(b"the new one")
    assert recover(writer) is None
    restored = checkpoint.restore(CPU)
    assert restored is not None
    assert restored.step == 2
    assert not (checkpoints / "previous.pt").exists()


def test_two_damaged_checkpoints_are_reported_and_left(tmp_path: Path) -> None:
    _, writer = _saved_twice(tmp_path)
    files = [tmp_path / "checkpoints" / name for name in ("last.pt", "previous.pt")]
    for file in files:
        os.truncate(file, 500)
    with pytest.raises(UserError, match=r"last\.pt: damaged .* no whole checkpoint before .* delete .*checkpoints"):
        recover(writer)
    assert [file.stat().st_size for file in files] == [500, 500]


def test_a_choice_whose_weights_were_replaced_is_forgotten(tmp_path: Path) -> None:
    """A resume with other threads may never choose that later epoch again."""
    checkpoint, writer = _saved_twice(tmp_path)
    writer.weights("checkpoints/best.safetensors", nn.Linear(2, 2), {"epoch": "2"})
    for chosen_epoch, expected in ((2, 2), (1, 0)):
        checkpoint.save(Progress(step=3, chosen_epoch=chosen_epoch, chosen_quality=0.5))
        restored = checkpoint.restore(CPU)
        assert restored is not None
        assert restored.chosen_epoch == expected


class StopLater(StopRequest):
    """Asks to stop after the seventh step: in the second epoch."""

    queries = 0

    @property
    def requested(self) -> bool:
        StopLater.queries += 1
        return StopLater.queries > 7

    @requested.setter
    def requested(self, value: bool) -> None:
        pass


@pytest.mark.parametrize("damage", ["truncated", "removed"])
def test_a_run_resumes_from_the_checkpoint_before_to_the_same_result(
    damage: str, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = DIGITS | {"epochs": 3}
    reference = train(digits, recipe, out=tmp_path / "whole", console=QUIET)
    with monkeypatch.context() as patch:
        patch.setattr(execution, "StopRequest", StopLater)
        patch.setattr(Checkpoint, "due", property(lambda self: StopLater.queries == 2))
        StopLater.queries = 0
        run = train(digits, recipe, out=tmp_path / "run", console=QUIET)
    checkpoints = run.path / "checkpoints"
    assert saved_progress(run.path).step > 4, "an epoch was scored and chosen after the checkpoint before"
    if damage == "truncated":
        os.truncate(checkpoints / "last.pt", 1000)
    else:
        (checkpoints / "last.pt").unlink()
    output = io.StringIO()
    run = resume(run.path, console=Console(file=output, width=400))
    assert ("resumes from the checkpoint before it, after step 2" in output.getvalue()) == (damage == "truncated")
    assert (run.validation().probabilities == reference.validation().probabilities).all()
    assert run.steps().drop(columns="seconds").equals(reference.steps().drop(columns="seconds"))
    assert run.status.chosen_epoch == reference.status.chosen_epoch
    assert not (checkpoints / "previous.pt").exists(), "a finished run is not resumed"


def test_half_written_files_of_a_killed_process_are_removed(digits: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution, "StopRequest", StopLater)
        StopLater.queries = 0
        run = train(digits, DIGITS, out=tmp_path / "run", console=QUIET)
    shutil.copy(run.path / "status.json", run.path / ".status.json.12.34.tmp")
    shutil.copy(run.path / "checkpoints" / "last.pt", run.path / "checkpoints" / ".last.pt.12.34.tmp")
    resume(run.path, console=QUIET)
    assert not list(Run(run.path).path.rglob("*.tmp"))
