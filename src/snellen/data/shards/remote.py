"""Shards at a URL, over HTTP or from S3: byte ranges, requested again after passing errors, and kept on disk."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from snellen.errors import UserError
from snellen.files import cache_folder
from snellen.words import counted, first_line

PROTOCOLS = ("http", "https", "s3")
_TRIES = 5
_FIRST_PAUSE = 0.5  # seconds; doubled after each try
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})  # HTTP's codes of errors that may pass
# The bases of such errors in aiohttp and botocore; both also have others that are OSErrors.
_OF_CONNECTION = frozenset({"ClientConnectionError", "ClientPayloadError", "HTTPClientError", "ConnectionError"})
_BLOCK = 2**20  # bytes of a request, and of a file of the cache
_AHEAD = 16  # blocks requested before they are needed, where a shard is read in order
_CONNECTIONS = 8  # at the same time, for blocks that are needed soon
_GRANTED = 2**30  # bytes written between two looks at the size of the cache
Result = TypeVar("Result")


def shard_folder() -> Path:
    """Where the indices and blocks of remote shards, and the indices of other programs' shards, are kept."""
    return cache_folder() / "shards"


def is_url(source: object) -> bool:
    """Whether a source is a URL."""
    return "://" in str(source)


class MissingError(UserError):
    """There is no such file at a URL."""


class Location:
    """A folder at a URL. Raises UserError, with the URL, for whatever goes wrong. Thread-safe."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._tries = _TRIES  # one while the server cannot be reached, or a report would wait for each of its pictures
        protocol = url.partition("://")[0]
        if protocol not in PROTOCOLS or "::" in url:
            raise UserError(f"{url}: expected a URL that begins with {', '.join(f'{name}://' for name in PROTOCOLS)}.")

    @cached_property
    def _system(self) -> tuple[Any, str]:
        try:
            from fsspec.core import url_to_fs

            system, path = url_to_fs(self.url)
        except ImportError as error:
            raise UserError(
                f"{self.url}: reading it needs: pip install 'snellen[remote]' ({first_line(error)})"
            ) from error
        return system, path

    def info(self, name: str) -> tuple[int, str]:
        """The size of a file in bytes, and what changes with its content."""
        facts = self._retried(name, lambda system, path: system.info(path))
        size = facts.get("size")
        if not isinstance(size, int):
            raise UserError(f"{self.url}/{name}: the server does not say how long the file is.")
        tags = ("ETag", "LastModified", "Last-Modified", "Content-MD5")
        return size, " ".join(str(facts[tag]) for tag in tags if tag in facts)

    def names(self) -> list[str]:
        """The names of the files in the folder, sorted; none if there is no such folder."""
        try:
            paths = self._retried("", lambda system, path: system.ls(path, detail=False))
        except MissingError:
            return []
        return sorted(path.rstrip("/").rpartition("/")[2] for path in paths)

    def fetch(self, name: str, start: int, length: int) -> bytes:
        """Bytes of a file."""
        content: bytes = self._retried(
            name, lambda system, path: _full(system.cat_file(path, start=start, end=start + length), length)
        )
        return content

    def _retried(self, name: str, call: Callable[[Any, str], Result]) -> Result:
        system, path = self._system
        url, path = (f"{self.url}/{name}", f"{path}/{name}") if name else (self.url, path)
        for attempt in range(self._tries):
            try:
                result = call(system, path)
                self._tries = _TRIES
                return result
            except Exception as raised:  # aiohttp's, botocore's and the sockets' errors have no common base
                error = raised.__cause__ if isinstance(raised, FileNotFoundError) and raised.__cause__ else raised
                code = getattr(error, "status", None)  # fsspec reports every failed look at a file as one missing
                if isinstance(error, FileNotFoundError) or code == 404:
                    raise MissingError(f"{url}: there is no such file.") from None
                if isinstance(error, PermissionError) or code in {401, 403}:
                    raise UserError(f"{url}: no permission to read it ({first_line(error)}).") from raised
                passing = _may_pass(error)
                if not passing or attempt >= self._tries - 1:
                    tries = f" after {counted(attempt + 1, 'try', 'tries')}" if passing else ""
                    self._tries = 1 if passing else self._tries
                    reason = f"{type(error).__name__}: {first_line(error)}"
                    raise UserError(f"{url}: cannot be read{tries} ({reason}).") from raised
                time.sleep(_FIRST_PAUSE * 2**attempt)
        raise AssertionError("unreachable")


def _may_pass(error: BaseException) -> bool:
    """Whether the next try may succeed: an error of the connection, or a server that is busy or failing."""
    code = getattr(error, "status", None)
    if code is not None:
        return code in _PASSING
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return isinstance(error, OSError | EOFError | TimeoutError) or bool(kinds & _OF_CONNECTION)


def _full(content: bytes, length: int) -> bytes:
    if len(content) > length:
        raise ValueError("the server sends the whole file where a part is requested; it needs HTTP Range")
    if len(content) < length:
        raise EOFError(f"{len(content):,} of {length:,} bytes were sent")
    return content


class RemoteReader:
    """Shards at a URL, read in blocks that are kept in a folder; what the disk has no room for is requested as needed.

    Of the disk at most half of what is free is used. Old blocks, also of other shards, make room for new ones, but not
    those that were kept since this process began: if they fill the room, single images are requested. Thread-safe.
    """

    def __init__(self, location: Location, shards: list[tuple[str, int]], folder: Path) -> None:
        self._location, self._shards, self._folder = location, shards, folder
        self._locks = [threading.Lock() for _ in range(64)]
        self._granting = threading.Lock()
        self._granted, self._is_filling, self._begin = 0, True, time.time()
        self._pool = ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="shards")

    def read(self, shard: int, start: int, length: int) -> bytes:
        """Bytes of a shard."""
        parts = []
        while length:
            block, offset = divmod(start, _BLOCK)
            count = min(length, _BLOCK - offset)
            parts.append(self._kept(shard, block, offset, count) or self._requested(shard, block, offset, count))
            start, length = start + count, length - count
        return b"".join(parts)

    def forget(self, shard: int, start: int, length: int) -> bool:
        """Deletes the blocks of these bytes."""
        blocks = range(start // _BLOCK, (start + length) // _BLOCK + 1)
        for block in blocks:
            self._path(shard, block).unlink(missing_ok=True)
        return True

    def _path(self, shard: int, block: int) -> Path:
        return self._folder / f"{shard:05d}-{block:07d}"

    def _kept(self, shard: int, block: int, offset: int, count: int) -> bytes | None:
        try:
            with self._path(shard, block).open("rb") as file:
                file.seek(offset)
                content = file.read(count)
        except OSError:
            return None
        return content if len(content) == count else None

    def _requested(self, shard: int, block: int, offset: int, count: int) -> bytes:
        if not self._is_filling:
            return self._location.fetch(self._shards[shard][0], block * _BLOCK + offset, count)
        if block == 0 or self._path(shard, block - 1).exists():  # the shard is read in order
            for following in range(block + 1, min(block + 1 + _AHEAD, -(-self._shards[shard][1] // _BLOCK))):
                self._pool.submit(self._fetched, shard, following)
        return self._fetched(shard, block)[offset : offset + count]

    def _fetched(self, shard: int, block: int) -> bytes:
        name, size = self._shards[shard]
        length = min(_BLOCK, size - block * _BLOCK)
        with self._locks[hash((shard, block)) % len(self._locks)]:
            content = self._kept(shard, block, 0, length)
            if content is None:
                content = self._location.fetch(name, block * _BLOCK, length)
                self._keep(self._path(shard, block), content)
        return content

    def _keep(self, path: Path, content: bytes) -> None:
        temporary = path.with_name(f".{uuid4().hex}.tmp")
        try:
            if self._has_room(len(content)):
                temporary.write_bytes(content)
                temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            self._stop_filling(str(error))

    def _has_room(self, size: int) -> bool:
        with self._granting:
            if self._granted < size and self._is_filling:
                self._granted = _freed(shard_folder(), self._begin, _GRANTED)
                if self._granted < size:
                    self._stop_filling("the disk has no room for more; half of what is free stays so")
            self._granted -= size
            return self._is_filling

    def _stop_filling(self, why: str) -> None:
        if self._is_filling:
            self._is_filling = False
            print(
                f"note: {self._location.url}: no more of it is kept in {self._folder}: {why}",
                file=sys.stderr,
                flush=True,
            )


def _freed(folder: Path, before: float, wanted: int) -> int:
    """Bytes that may be written to the cache, at most `wanted`, after deleting files older than the time `before`."""
    ages = []
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                state = os.stat(os.path.join(parent, name))
            except FileNotFoundError:  # deleted by another process
                continue
            ages.append((state.st_mtime, state.st_size, os.path.join(parent, name)))
    total = sum(size for _, size, _ in ages)
    limit = (total + shutil.disk_usage(folder).free) // 2
    for age, size, name in sorted(ages):
        if total + wanted <= limit or age >= before:
            break
        if os.path.basename(os.path.dirname(name)) == "blocks":
            Path(name).unlink(missing_ok=True)
            total -= size
    return min(wanted, limit - total)
