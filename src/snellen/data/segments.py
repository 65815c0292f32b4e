"""Files of packed bytes: appended to, read by mapping them into memory, and deleted when they take too much room."""

from __future__ import annotations

import contextlib
import mmap
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

_SUFFIX = ".pixels"
_LEAST_SEGMENT = 256 * 2**20  # bytes
_MOST_SEGMENTS = 64  # of that size; a larger limit has larger ones, since each that is mapped holds a file open
_MOST_MAPPED = 128
_STEPS = 16  # per segment: how often the size of all files is looked at while one is written
_TOUCH_SECONDS = 60.0  # how exactly the time of last use is recorded


class Segments:
    """The segment files of a folder, at most `limit` bytes in all, and at most half of what the disk has free.

    Each object appends to a file of its own, so that processes do not disturb each other. To make room, the files that
    were used least recently (by their modification time) are deleted, but none that this object has used: on_delete is
    called with their names. A deleted file stays readable where it is mapped. Nothing here shortens a file; what does
    while it is mapped ends all processes that read what is missing (SIGBUS). The length is looked at before each use,
    so this concerns only pixels that a process already holds. Processes that write at the same moment may exceed the
    limit by a sixteenth of a file each. Not thread-safe.
    """

    def __init__(self, folder: Path, limit: int, on_delete: Callable[[str], None]) -> None:
        self._folder, self._limit, self._on_delete = folder, limit, on_delete
        self._size = min(max(_LEAST_SEGMENT, limit // _MOST_SEGMENTS), limit // 8)
        self._file: int | None = None
        self._name, self._end, self._granted = "", 0, 0
        self._maps: dict[str, mmap.mmap] = {}
        self._used: dict[str, float] = {}

    def append(self, data: memoryview) -> tuple[str, int] | None:
        """Writes bytes; returns the name of their file and where in it they start, None if there is no room for them.

        Raises OSError.
        """
        if self._granted < len(data):
            self._granted = self._room(max(len(data), self._size // _STEPS))
            if self._granted < len(data):
                return None
        if self._file is None or self._end + len(data) > self._size:
            self._begin()
        assert self._file is not None
        start = self._end
        while data:
            written = os.write(self._file, data)
            self._end += written
            self._granted -= written
            data = data[written:]
        return self._name, start

    def mapped(self, name: str, end: int) -> mmap.mmap:
        """A file as memory, private to this process, of at least `end` bytes.

        Raises OSError if there is no such, and ValueError for a name that is not of a file in the folder.
        """
        if Path(name).name != name or not name.endswith(_SUFFIX):
            raise ValueError(f"'{name}' is not the name of a segment")
        self._touch(name)
        found = self._maps.get(name)
        if found is not None and len(found) >= end:
            with contextlib.suppress(FileNotFoundError):  # deleted to make room: what is mapped stays
                _check_length((self._folder / name).stat(), name, end)
        else:
            with (self._folder / name).open("rb") as file:
                _check_length(os.fstat(file.fileno()), name, end)
                found = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
            self._maps.pop(name, None)
            if len(self._maps) >= _MOST_MAPPED:
                del self._maps[next(iter(self._maps))]
            self._maps[name] = found
        return found

    def _begin(self) -> None:
        self._close()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._name, self._end = f"{uuid4().hex[:16]}{_SUFFIX}", 0
        self._file = os.open(self._folder / self._name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)
        self._used[self._name] = time.monotonic()

    def _room(self, wanted: int) -> int:
        """Bytes that may be written, at most `wanted`, after deleting files if that is needed."""
        self._folder.mkdir(parents=True, exist_ok=True)
        ages: list[tuple[float, int, Path]] = []
        for path in self._folder.glob(f"*{_SUFFIX}"):
            with contextlib.suppress(FileNotFoundError):  # deleted by another process
                state = path.stat()
                ages.append((state.st_mtime, state.st_size, path))
        total = sum(size for _, size, _ in ages)
        if self._name not in {path.name for _, _, path in ages}:
            self._close()  # what is written to a deleted file is lost
        limit = min(self._limit, (total + shutil.disk_usage(self._folder).free) // 2)
        for _, size, path in sorted(ages):
            if total + wanted <= limit:
                break
            if path.name not in self._used:
                path.unlink(missing_ok=True)
                self._on_delete(path.name)
                total -= size
        return min(wanted, limit - total)

    def _touch(self, name: str) -> None:
        now = time.monotonic()
        if now - self._used.get(name, -_TOUCH_SECONDS) >= _TOUCH_SECONDS:
            self._used[name] = now
            with contextlib.suppress(OSError):  # a file of another user, or none
                os.utime(self._folder / name)

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __del__(self) -> None:
        self._close()


def _check_length(state: os.stat_result, name: str, end: int) -> None:
    if state.st_size < end:
        raise OSError(f"{name}: shorter than {end} bytes")
