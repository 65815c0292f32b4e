"""A snellen command in a process of its own, which can be caught at any of its moments: they are counted, not timed."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from snellen import cli
from snellen.data import decode
from snellen.engine import budget, checkpoint, loop
from snellen.run.writer import RunWriter

_BUG = 70


@dataclass(frozen=True)
class Ended:
    """code: the exit code, negative for a signal. said: all that was printed. moments: names, in their order."""

    code: int
    said: str
    moments: list[str]


def run_command(
    arguments: Sequence[object],
    folder: Path,
    at: int | None = None,
    meanwhile: Callable[[int], None] | None = None,
    inside: Callable[[], None] | None = None,
) -> Ended:
    """snellen ARGUMENTS. folder: for its output and its cache.

    At moment `at`, counted from 0, either `inside` is called in the process, or the process stops and goes on when
    `meanwhile`, which gets its number, has returned.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pid = os.fork()  # a new interpreter would spend most of its time on importing torch
    if pid == 0:
        os._exit(_command([str(argument) for argument in arguments], folder, at, inside or _stop))
    _, status = os.waitpid(pid, os.WUNTRACED)
    while os.WIFSTOPPED(status):
        assert meanwhile is not None
        meanwhile(pid)
        os.kill(pid, signal.SIGCONT)
        _, status = os.waitpid(pid, os.WUNTRACED)
    moments = folder / "moments"
    return Ended(
        os.waitstatus_to_exitcode(status),
        (folder / "said").read_text(),
        moments.read_text().splitlines() if moments.is_file() else [],
    )


def _stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _command(arguments: list[str], folder: Path, at: int | None, happen: Callable[[], None]) -> int:
    """In the new process: the exit code of the command."""
    for name in ("said", "moments"):
        (folder / name).unlink(missing_ok=True)
    sys.stdout = sys.stderr = (folder / "said").open("w", buffering=1)
    os.environ.update({"SNELLEN_CACHE": str(folder / "cache"), "COLUMNS": "1000"})
    moments = Moments(at, happen)
    moments.watch()
    sys.argv = ["snellen", *arguments]
    try:
        cli.main()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
        code = _BUG
    sys.stdout.flush()
    (folder / "moments").write_text("\n".join(moments.names))
    return code


class Moments:
    """What a process has done so far; at the moment `at`, `happen` is called."""

    def __init__(self, at: int | None, happen: Callable[[], None]) -> None:
        self.names: list[str] = []
        self._at, self._happen, self._lock = at, happen, threading.Lock()

    def reached(self, name: str) -> None:
        with self._lock:
            self.names.append(name)
            is_now = len(self.names) - 1 == self._at
        if is_now:
            self._happen()

    def watch(self) -> None:
        """From now on, in this process, writes, steps and decoded images are moments; no clock decides anything."""
        replace, fsync, growing, one_step = Path.replace, os.fsync, RunWriter.growing, loop.one_step
        opened_image = decode.opened_image

        def replacing(path: Path, target: Path) -> Path:
            self.reached(f"{target.name}: before its rename")
            replaced = replace(path, target)
            self.reached(f"{target.name}: after its rename")
            return replaced

        def synchronising(descriptor: int) -> None:
            self.reached("before fsync")
            fsync(descriptor)

        def stepping(*arguments: Any) -> Any:
            self.reached("before a step")
            result = one_step(*arguments)
            self.reached("after a step")
            return result

        def opening(path: Path) -> Any:
            self.reached("decoding")
            return opened_image(path)

        patches: Any = [
            (Path, "replace", replacing),
            (os, "fsync", synchronising),
            (RunWriter, "growing", lambda writer, name, size: _Growing(growing(writer, name, size), name, self)),
            (loop, "one_step", stepping),
            (decode, "opened_image", opening),
            (checkpoint, "_SECONDS_BETWEEN", 0.0),  # saved after every step
            (checkpoint, "_SHARE_OF_TIME", 1e9),
            (budget, "_TIMED_SECONDS", 0.0),
        ]
        for owner, name, value in patches:
            setattr(owner, name, value)


class _Growing:
    """An append-only file, which can be caught with half a line."""

    def __init__(self, file: IO[bytes], name: str, moments: Moments) -> None:
        self._file, self._name, self._moments = file, name, moments

    def write(self, content: bytes) -> int:
        half = len(content) // 2
        self._file.write(content[:half])
        self._file.flush()
        self._moments.reached(f"{self._name}: half a line")
        return half + self._file.write(content[half:])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
