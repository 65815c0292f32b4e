"""Runs a parser on changed files and looks for what must not happen.

A change that executes a line of code that no file has executed before is kept, and changed further (by coverage, as
AFL and libFuzzer do). What counts as a finding:

- any exception but UserError;
- a file opened for writing, moved or deleted outside the parser's folder, a process, a connection, a pickled object;
- more than `_SECONDS` of processor time, or `_MEMORY` more memory.
"""

from __future__ import annotations

import contextlib
import resource
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any

from tests.fuzz.mutate import mutated

from snellen.errors import UserError

_REFUSED = "UserError"
_SECONDS = 20.0
_MEMORY = 1 << 30  # bytes
_TRACED = 4  # one in so many files; tracing takes most of the time
_SHRINKING = 300  # executions for each finding
_CALLS = ("rename", "remove", "rmdir", "mkdir", "link", "symlink", "chmod", "truncate", "utime")
_WRITING = {f"os.{call}" for call in _CALLS}
_NEVER = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect", "pickle.find_class"}
_OPEN_FOR_WRITING = 0o1 | 0o2 | 0o100 | 0o1000  # O_WRONLY, O_RDWR, O_CREAT, O_TRUNC


class _ForbiddenError(BaseException):
    """Something that reading a file must never do. Not an Exception, so that no parser catches it."""


@dataclass(frozen=True)
class Parser:
    """A reader of untrusted files.

    seeds: sound files by name. read: reads one of them, by name, in a folder that contains them all; the property is
    that it returns or raises UserError. code: modules and functions whose lines are counted. words: that the format
    gives a meaning. mends: by suffix, what restores checksums, applied to half of the files. unchanged: names of seeds
    that only have to be there.
    """

    seeds: Callable[[], dict[str, bytes]]
    read: Callable[[Path, str], object]
    code: Sequence[ModuleType | FunctionType | type]
    words: Sequence[bytes] = ()
    mends: dict[str, Callable[[bytes], bytes]] = field(default_factory=dict)
    unchanged: Sequence[str] = ()


@dataclass
class Finding:
    """What went wrong, with the smallest file that shows it. key: the exception and where it was raised."""

    key: str
    text: str
    name: str
    content: bytes


@dataclass
class Result:
    """lines, of_lines: executed, and in the parser's code. refused: how many files raised UserError."""

    runs: int
    refused: int
    lines: int
    of_lines: int
    findings: list[Finding]
    missed: list[str]


def fuzz(parser: Parser, runs: int, seed: int, report: Callable[[str], None] = lambda line: None) -> Result:
    """Reads the seeds, then `runs` changed files."""
    random, seeds = Random(seed), parser.seeds()
    words, names = list(parser.words), sorted(seeds.keys() - set(parser.unchanged))
    lines = _Lines(parser.code)
    findings: dict[str, Finding] = {}
    refused = 0
    with tempfile.TemporaryDirectory(prefix="snellen-fuzz-") as parent:
        folder = Path(parent) / "folder"
        write_files(folder, seeds)
        corpus = {name: [content] for name, content in seeds.items()}
        for name in names:
            with lines:
                failure = _failure(parser, folder, name, seeds[name])
            if failure is not None:
                raise RuntimeError(f"{name} is not sound: {failure[1]}")
        for number in range(runs):
            name = random.choice(names)
            content = mutated(random.choice(corpus[name]), random.choice(list(corpus.values())), words, random)
            mend = parser.mends.get(Path(name).suffix)
            if mend is not None and random.random() < 0.5:
                content = mend(content)
            before = len(lines.seen)
            with lines if number % _TRACED == 0 else contextlib.nullcontext():
                failure = _failure(parser, folder, name, content)
            if len(lines.seen) > before:
                corpus[name].append(content)
            (folder / name).write_bytes(seeds[name])
            if failure is not None and failure[0] == _REFUSED:
                refused += 1
            elif failure is not None and failure[0] not in findings:
                findings[failure[0]] = Finding(*failure, name, content)
                report(f"{number + 1:,}: {failure[0]}")
            if (number + 1) % 10_000 == 0:
                report(
                    f"{number + 1:,}: {len(lines.seen & lines.all)} of {len(lines.all)} lines, {len(findings)} findings"
                )
        for finding in findings.values():
            _shrink(parser, folder, finding, seeds[finding.name])
        if sorted(Path(parent).iterdir()) != [folder]:
            raise RuntimeError(f"files outside the folder: {sorted(Path(parent).iterdir())}")
    missed = sorted(f"{Path(file).name}:{line}" for file, line in lines.all - lines.seen)
    return Result(runs, refused, len(lines.seen & lines.all), len(lines.all), list(findings.values()), missed)


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    """Files by their names in the folder, which may lead into folders below it."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def _failure(parser: Parser, folder: Path, name: str, content: bytes) -> tuple[str, str] | None:
    """What reading a file raises: a key and the traceback, _REFUSED and the message, or None."""
    (folder / name).write_bytes(content)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with _guarded(folder):
            parser.read(folder, name)
    except UserError as error:
        result = _REFUSED, str(error)
    except (Exception, _ForbiddenError) as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if "/snellen/" in frame.filename] or frames
        place = f"{Path(own[-1].filename).name}:{own[-1].lineno}"
        result = f"{type(error).__name__} at {place}", "".join(traceback.format_exception(error, limit=-6))[-3000:]
    else:
        result = None
    growth = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory)
    return ("memory", f"{growth:,} bytes") if growth > _MEMORY else result


def _shrink(parser: Parser, folder: Path, finding: Finding, seed: bytes) -> None:
    """Leaves out what the finding does not need, in ever smaller parts."""
    size, left = max(1, len(finding.content) // 2), _SHRINKING
    while size and left > 0:
        start = 0
        while start < len(finding.content) and left > 0:
            shorter = finding.content[:start] + finding.content[start + size :]
            failure = _failure(parser, folder, finding.name, shorter)
            left -= 1
            if failure is not None and failure[0] == finding.key:
                finding.content, finding.text = shorter, failure[1]
            else:
                start += size
        size //= 2
    (folder / finding.name).write_bytes(seed)


class _Lines:
    """Records which lines of some functions are executed, on this thread. all, seen: (file, line)."""

    def __init__(self, code: Sequence[ModuleType | FunctionType | type]) -> None:
        self._codes = {part for piece in code for part in _codes_of(piece)}
        self.all = {
            (part.co_filename, line)
            for part in self._codes
            for _, _, line in part.co_lines()
            if line is not None and line != part.co_firstlineno and not part.co_filename.startswith("<")
        }
        self.seen: set[tuple[str, int]] = set()

    def __enter__(self) -> _Lines:
        self._before = sys.gettrace()
        sys.settrace(self._call)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _call(self, frame: FrameType, event: str, value: Any) -> Any:
        return self._line if frame.f_code in self._codes else None

    def _line(self, frame: FrameType, event: str, value: Any) -> Any:
        if event == "line":
            self.seen.add((frame.f_code.co_filename, frame.f_lineno))
        return self._line


def _codes_of(piece: ModuleType | FunctionType | type) -> Iterator[CodeType]:
    """The code of all functions of a module or class, and of the functions inside them."""
    if isinstance(piece, FunctionType):
        yield from _nested(piece.__code__)
        return
    home = piece.__name__ if isinstance(piece, ModuleType) else piece.__module__
    for value in vars(piece).values():
        value = getattr(value, "__wrapped__", value)
        value = getattr(value, "func", getattr(value, "fget", getattr(value, "__func__", value)))
        if isinstance(value, FunctionType | type) and value.__module__ == home:
            yield from _codes_of(value)


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)


_folder_in_use: str | None = None


@contextlib.contextmanager
def _guarded(folder: Path) -> Iterator[None]:
    """Forbids writing outside `folder`, processes, connections and pickles, and stops what takes too long."""
    global _folder_in_use

    def stop(*_: object) -> None:
        raise _ForbiddenError(f"more than {_SECONDS} seconds")

    is_main = threading.current_thread() is threading.main_thread()
    previous = signal.signal(signal.SIGPROF, stop) if is_main else None
    _folder_in_use = str(folder)
    signal.setitimer(signal.ITIMER_PROF, _SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        _folder_in_use = None
        if is_main:
            signal.signal(signal.SIGPROF, previous)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    folder = _folder_in_use
    if folder is None or threading.current_thread() is not threading.main_thread():
        return
    if event in _NEVER:
        raise _ForbiddenError(f"{event} {arguments}")
    if event == "open":
        path, _, flags = arguments
        if not isinstance(path, str | bytes) or not isinstance(flags, int) or not flags & _OPEN_FOR_WRITING:
            return
    elif event not in _WRITING:
        return
    path = str(arguments[0])
    if Path(path).resolve().is_relative_to(Path(folder).resolve()) or path == "/dev/null":
        return
    raise _ForbiddenError(f"{event} {path}")


sys.addaudithook(_audit)
