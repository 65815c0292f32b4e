"""A disk that is full at any write of a run: nothing is lost or half-written, and the run resumes to the same bits."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest
from tests.faults.kinds import CASES, QUIET, Case, assert_same_bits

from snellen import UserError
from snellen.commands.train import resume
from snellen.run.writer import RunWriter
from snellen.runs import Run


class Disk:
    """Counts what is written; from write `full_at` on (counted from 1) there is no space, for `full_for` writes."""

    def __init__(self, full_at: int | None = None, full_for: int = 1) -> None:
        self.writes = 0
        self._full_at, self._full_for = full_at, full_for

    def write(self) -> None:
        self.writes += 1
        if self._full_at is not None and self._full_at <= self.writes < self._full_at + self._full_for:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class GrowingFile:
    """An append-only file on such a disk: what does not fit is written by half, as a real disk does."""

    def __init__(self, file: IO[bytes], disk: Disk) -> None:
        self._file, self._disk = file, disk

    def write(self, content: bytes) -> int:
        try:
            self._disk.write()
        except OSError:
            self._file.write(content[: len(content) // 2])
            self._file.flush()
            raise
        return self._file.write(content)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextmanager
def writing_to(disk: Disk) -> Iterator[None]:
    """One write is a file written whole, when it is brought to the disk, or a line of a growing file."""
    growing, synchronise = RunWriter.growing, os.fsync

    def fsync(descriptor: int) -> None:
        disk.write()
        synchronise(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        patch.setattr(RunWriter, "growing", lambda *arguments: GrowingFile(growing(*arguments), disk))
        yield


def count_writes(case: Case, images: Path, out: Path) -> tuple[Run, int]:
    disk = Disk()
    with writing_to(disk):
        run = case.start(images, out)
    return run, disk.writes


def survive(case: Case, images: Path, whole: Run, out: Path, disk: Disk) -> None:
    """Trains on that disk, checks what is left, and goes on with space."""
    message = None
    with writing_to(disk):
        try:
            case.start(images, out)
        except UserError as error:
            message = str(error)
    if message is not None:
        assert "the disk is full" in message
        assert not list(out.rglob("*.tmp")), "no temporary file is left"
    if message is not None and (out / "recipe.yaml").is_file():
        finished = Run(out).status.state == "finished"
        assert f"snellen {'report' if finished else 'train --resume'} {out}" in message
    if not (out / "recipe.yaml").is_file():
        assert not out.exists() or not list(out.iterdir()), "a set-up that failed leaves nothing behind"
        case.start(images, out)
    elif Run(out).status.state != "finished":
        resume(out, console=QUIET)
    elif message is not None:
        Run(out).report()
    assert_same_bits(Run(out), whole)


@pytest.mark.parametrize("full_for", [1, 10**9], ids=["for one write", "from then on"])
@pytest.mark.parametrize(
    "kind",
    ["classification", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("segmentation", "pretraining"))],
)
def test_full_at_every_write(kind: str, full_for: int, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    case = CASES[kind]
    images = request.getfixturevalue(case.images)
    whole, writes = count_writes(case, images, tmp_path / "whole")
    assert writes > 30
    for write in range(1, writes + 1):
        survive(case, images, whole, tmp_path / f"full-{write}", Disk(write, full_for))
