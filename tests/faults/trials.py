"""Faults at moments that a seed draws, each followed by the commands that a user is told, and by a comparison."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from zipfile import ZipFile

import numpy as np
import torch
import yaml
from safetensors.torch import load_file
from tests.faults.child import Ended, run_command
from tests.faults.kinds import CASES, STUDY, assert_same_bits

from snellen.run.writer import RunWriter
from snellen.runs import Run
from snellen.study.directory import StudyDirectory

KINDS = (*CASES, "study")
SET_UP = "recipe.yaml: after its rename"
UNCACHED = {"cache_mib": 0, "disk_cache_mib": 0}  # so that files are read until the end


@dataclass(frozen=True)
class Uninterrupted:
    """What a kind of run is without a fault. moments: of its command."""

    path: Path
    moments: list[str]


class Lab:
    """Runs of all kinds without a fault, each trained when it is first needed.

    images: a folder for each fixture's name. folder: for everything.
    """

    def __init__(self, images: dict[str, Path], folder: Path) -> None:
        self.images, self.folder = images, folder
        self._uninterrupted: dict[tuple[str, bool], Uninterrupted] = {}

    def uninterrupted(self, kind: str, cached: bool) -> Uninterrupted:
        key = kind, cached
        if key not in self._uninterrupted:
            folder = self.folder / f"{kind}-{'cached' if cached else 'uncached'}"
            trial = Trial(self, kind, cached, folder, np.random.default_rng(0))
            if kind in CASES:  # once here: later processes find all modules imported
                CASES[kind].start(trial.images, folder / "imported")
            ended = trial.start()
            assert ended.code == 0, ended.said
            self._uninterrupted[key] = Uninterrupted(trial.out, ended.moments)
        return self._uninterrupted[key]


class Trial:
    """One run in a folder of its own, with images of its own."""

    def __init__(self, lab: Lab, kind: str, cached: bool, folder: Path, generator: np.random.Generator) -> None:
        self.kind, self.folder, self.out, self.random = kind, folder, folder / "run", generator
        self._lab, self._cached = lab, cached
        case = CASES["classification" if kind == "study" else kind]
        self.images = folder / "images"
        shutil.copytree(lab.images[case.images], self.images)
        self.command = "compare" if kind == "study" else case.command(self.images)
        # What pretraining is scored on is never touched, and has the same paths in all trials.
        fields = STUDY if kind == "study" else case.recipe(lab.images[case.images])
        if not cached:
            fields = fields | {"data": UNCACHED}
        (folder / "recipe.yaml").write_text(yaml.safe_dump(fields))

    @property
    def uninterrupted(self) -> Uninterrupted:
        return self._lab.uninterrupted(self.kind, self._cached)

    @property
    def is_run(self) -> bool:
        return (self.out / "recipe.yaml").is_file()

    def moment(self, first: str | None = None, last: str | None = None) -> int:
        """A moment between two. First its name is drawn, then one of that name: most moments are decoded images."""
        moments = self.uninterrupted.moments
        start = 0 if first is None else moments.index(first)
        stop = len(moments) if last is None else moments.index(last)
        name = self.random.choice(sorted(set(moments[start:stop])))
        return int(self.random.choice([number for number in range(start, stop) if moments[number] == name]))

    def start(self, **happening: Any) -> Ended:
        """The command of its first start; for a study, also of its resume."""
        arguments = [self.command, self.folder / "recipe.yaml", self.images, "--out", self.out]
        return run_command(arguments, self.folder / "process", **happening)

    def resume(self) -> Ended:
        return run_command(["train", "--resume", self.out], self.folder / "process")

    def go_on(self) -> Ended | None:
        """The next command, whatever has happened; None if nothing is left to do."""
        if self.kind == "study" or not self.is_run:
            ended = self.start()
        elif Run(self.out).status.state != "finished":
            ended = self.resume()
        elif not all((self.out / f"report.{suffix}").is_file() for suffix in ("html", "json", "csv")):
            for half in self.out.glob(".report.*.tmp"):  # a report needs no lock, so nobody removes it
                half.unlink()
            ended = run_command(["report", self.out, "--force"], self.folder / "process")
        else:
            return None
        assert ended.code == 0, ended.said
        return ended

    def assert_said(self, ended: Ended, *words: str) -> None:
        """What happened, and the next command."""
        for word in words:
            assert word in ended.said, ended.said
        assert "Traceback" not in ended.said, ended.said
        if self.kind != "study" and self.is_run:
            finished = Run(self.out).status.finished
            assert f"snellen {'report' if finished else 'train --resume'} {self.out}" in ended.said, ended.said

    def assert_whole(self) -> None:
        """Whatever has its final name can be read."""
        for file in self.out.rglob("*.*"):
            if file.name.endswith(".tmp"):
                continue
            if file.suffix == ".pt":
                assert ZipFile(file).testzip() is None
                torch.load(file, weights_only=True)
            elif file.suffix == ".safetensors":
                load_file(file)
            elif file.suffix == ".npz":
                with np.load(file) as arrays:
                    assert all(arrays[name] is not None for name in arrays.files)
            elif file.suffix == ".json":
                json.loads(file.read_text())

    def assert_same(self) -> None:
        if self.kind != "study":
            assert_same_bits(Run(self.out), Run(self.uninterrupted.path))
            return
        study, whole = StudyDirectory(self.out), StudyDirectory(self.uninterrupted.path)
        assert len(study.runs) == len(whole.runs) == 2
        for ours, theirs in zip(study.runs, whole.runs, strict=True):
            assert_same_bits(Run(ours.path), Run(theirs.path))
        assert not list(self.out.rglob("*.tmp"))


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def killed(trial: Trial) -> None:
    """kill -9."""
    ended = trial.start(at=trial.moment(), meanwhile=_kill)
    assert ended.code == -signal.SIGKILL, ended.said


def killed_twice(trial: Trial) -> None:
    """kill -9, and again at a moment of the resumed run."""
    killed(trial)
    if trial.is_run and Run(trial.out).status.state != "finished":
        at = int(trial.random.integers(100))
        arguments = ["train", "--resume", trial.out]
        run_command(arguments, trial.folder / "process", at=at, meanwhile=_kill)


def terminated(trial: Trial) -> None:
    """SIGTERM: the current step is saved."""
    ended = trial.start(at=trial.moment(), meanwhile=lambda pid: os.kill(pid, signal.SIGTERM))
    if ended.code != 0:  # else in the last step, after which a run is finished as always
        assert ended.code == 130, ended.said
        trial.assert_said(ended, "stopped")


def damaged_checkpoint(trial: Trial) -> None:
    """kill -9, and a byte of the last checkpoint is changed."""
    at = trial.moment("previous.pt: after its rename", "last.safetensors: before its rename")
    ended = trial.start(at=at, meanwhile=_kill)
    assert ended.code == -signal.SIGKILL, ended.said
    last = trial.out / "checkpoints" / "last.pt"
    if not last.is_file():  # killed between the two renames of a save
        return
    content = bytearray(last.read_bytes())
    with ZipFile(last) as archive:  # a byte of a tensor
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
    content[largest.header_offset + 200 + int(trial.random.integers(largest.file_size - 200))] ^= 255
    last.write_bytes(content)
    ended = trial.go_on()
    assert ended is not None
    assert "last.pt was damaged" in ended.said, ended.said


def second_process(trial: Trial) -> None:
    """A second process on the folder is refused, and the first does not notice."""

    codes: list[int] = []

    def meanwhile(pid: int) -> None:
        arguments: list[object] = ["train", "--resume", trial.out]
        if not trial.is_run:
            arguments = [trial.command, trial.folder / "recipe.yaml", trial.images, "--out", trial.out]
        second = run_command(arguments, trial.folder / "second")
        codes.append(second.code)
        said_so = "another process" in second.said or "this run is finished" in second.said
        assert said_so, second.said

    ended = trial.start(at=trial.moment(), meanwhile=meanwhile)
    assert codes == [2]
    assert ended.code == 0, ended.said


def clock_set_back(trial: Trial) -> None:
    """The clock is set back by a day."""

    def set_back() -> None:
        seconds, nanoseconds = time.time, time.time_ns
        time.time = lambda: seconds() - 86_400
        time.time_ns = lambda: nanoseconds() - 86_400 * 10**9

    ended = trial.start(at=trial.moment(), inside=set_back)
    assert ended.code == 0, ended.said


def read_only(trial: Trial) -> None:
    """From a moment on, nothing can be written, as on a disk that the system has found to be damaged."""

    def refuse(*_: object, **__: object) -> Any:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    class ReadOnly:
        def __init__(self, file: IO[bytes]) -> None:
            self._file = file
            self.write = self.truncate = refuse

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

    def become_read_only() -> None:
        growing = RunWriter.growing
        os.fsync = Path.touch = Path.replace = Path.mkdir = refuse
        RunWriter.growing = lambda *arguments: ReadOnly(growing(*arguments))

    ended = trial.start(at=trial.moment(), inside=become_read_only)
    if ended.code != 0:
        assert ended.code == 2, ended.said
        trial.assert_said(ended, "Read-only file system")


def vanished_image(trial: Trial) -> None:
    """An image is removed during the run, and is there again when it is resumed."""
    _lose(trial, Path.unlink)


def changed_image(trial: Trial) -> None:
    """An image is replaced by another one during the run, and is restored."""
    _lose(trial, lambda file: shutil.copyfile(_another(file), file))


def _lose(trial: Trial, lose: Callable[[Path], object]) -> None:
    file = _image(trial)
    content = file.read_bytes()
    ended = trial.start(at=trial.moment(first=SET_UP), meanwhile=lambda pid: lose(file))
    if ended.code == 0:  # it was not needed any more
        file.write_bytes(content)
        return
    assert ended.code == 2, ended.said
    trial.assert_said(ended, str(file))
    file.write_bytes(content)


def changed_between(trial: Trial) -> None:
    """kill -9; an image is changed or removed before the run is resumed, which is refused; it is restored."""
    ended = trial.start(at=trial.moment(first=SET_UP), meanwhile=_kill)
    assert ended.code == -signal.SIGKILL, ended.said
    if Run(trial.out).status.finished:
        return
    file = _image(trial)
    content = file.read_bytes()
    if trial.random.integers(2):
        file.unlink()
    else:
        shutil.copyfile(_another(file), file)
    before = _contents(trial.out)
    refused = trial.resume()
    assert refused.code == 2, refused.said
    trial.assert_said(refused)
    assert _contents(trial.out) == before, "nothing of the run is changed"
    file.write_bytes(content)


def _image(trial: Trial) -> Path:
    files = sorted(file for file in trial.images.rglob("*") if file.suffix in {".png", ".jpg"})
    return files[int(trial.random.integers(len(files)))]


def _another(file: Path) -> Path:
    """Another image, or mask, of the set."""
    others = sorted(file.parent.glob(f"*{file.suffix}"))
    return next(other for other in others if other != file)


def _contents(folder: Path) -> dict[Path, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file() and not file.name.endswith(".tmp"))
    return {file: file.read_bytes() for file in files}


Fault = Callable[[Trial], None]
FAULTS: tuple[Fault, ...] = (
    killed,
    killed_twice,
    terminated,
    damaged_checkpoint,
    second_process,
    clock_set_back,
    read_only,
    vanished_image,
    changed_image,
    changed_between,
)
_OF_IMAGES = (vanished_image, changed_image)
_OF_STUDIES = (killed, terminated, clock_set_back)


@dataclass(frozen=True)
class Drawn:
    """What trial `number` of a seed is."""

    seed: int
    number: int
    kind: str
    fault: Fault

    def __str__(self) -> str:
        return f"seed {self.seed}, trial {self.number}: {self.kind}, {self.fault.__name__}"


def draw(seed: int, number: int) -> Drawn:
    """Kinds and faults in turn; the seed draws the moments."""
    kind = KINDS[number % len(KINDS)]
    faults = _OF_STUDIES if kind == "study" else FAULTS
    return Drawn(seed, number, kind, faults[number // len(KINDS) % len(faults)])


def attempt(lab: Lab, drawn: Drawn) -> None:
    """The fault, the next commands, and the comparison. Raises AssertionError for any loss."""
    folder = lab.folder / f"{drawn.seed}-{drawn.number}"
    generator = np.random.default_rng([drawn.seed, drawn.number])
    folder.mkdir(parents=True)
    trial = Trial(lab, drawn.kind, drawn.fault not in _OF_IMAGES, folder, generator)
    drawn.fault(trial)
    trial.assert_whole()
    trial.go_on()
    trial.assert_same()
    shutil.rmtree(folder)
