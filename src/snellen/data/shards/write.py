"""Writes files into tar files of bounded size, as the webdataset package reads them."""

from __future__ import annotations

import os
import tarfile
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from snellen.data.shards.index import Shard

_BUFFER = 2**20
_EMPTY = tarfile.TarInfo("").tobuf(tarfile.PAX_FORMAT)  # of a file without a name or content
_EMPTY_SUM = int(_EMPTY[148:154], 8)


class ShardWriter:
    """Tar files in a folder, each closed when it has reached `limit` bytes. Use as a context.

    The same calls give the same bytes: no times, no owners. A closed file is brought to the disk while the next one is
    written; leaving the context waits for that.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder, self._limit = folder, limit
        self._open: dict[str, tuple[int, BinaryIO]] = {}
        self._sizes: list[int] = []
        self._names: list[str] = []
        self._counts: dict[str, int] = {}
        self._syncs: list[Future[None]] = []
        self._pool = ThreadPoolExecutor(1)

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        for prefix in list(self._open):
            self._close(prefix)
        self._pool.shutdown()
        for sync in self._syncs:
            sync.result()

    @property
    def shards(self) -> list[Shard]:
        """The tar files written, complete once the context is left."""
        return [Shard(name, size) for name, size in zip(self._names, self._sizes, strict=True)]

    def add(self, prefix: str, files: list[tuple[str, bytes]]) -> list[tuple[int, int]]:
        """Writes (name, content) of files that belong together into a tar file of that prefix.

        Returns for each the number of its tar file and where in it the content starts.
        """
        if prefix not in self._open:
            self._begin(prefix)
        number, file = self._open[prefix]
        places = []
        for name, content in files:
            padding = b"\0" * (-len(content) % tarfile.BLOCKSIZE)
            start = self._sizes[number] + file.write(_header(name, len(content)))
            self._sizes[number] = start + file.write(content) + file.write(padding)
            places.append((number, start))
        if self._sizes[number] >= self._limit:
            self._close(prefix)
        return places

    def _begin(self, prefix: str) -> None:
        count = self._counts.get(prefix, 0)
        self._counts[prefix] = count + 1
        name = f"{prefix}-{count:05d}.tar"
        self._open[prefix] = len(self._names), (self._folder / name).open("xb", buffering=_BUFFER)
        self._names.append(name)
        self._sizes.append(0)

    def _close(self, prefix: str) -> None:
        number, file = self._open.pop(prefix)
        with file:
            self._sizes[number] += file.write(b"\0" * 2 * tarfile.BLOCKSIZE)
        self._syncs.append(self._pool.submit(_sync, self._folder / self._names[number]))


def _header(name: str, size: int) -> bytes:
    """What tarfile writes before a file; put together here for plain names, since that takes a tenth of the time."""
    encoded = name.encode()
    if len(encoded) > 100 or not name.isascii() or size >= 8**11:
        info = tarfile.TarInfo(name)
        info.size = size
        return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")
    octal = b"%011o" % size
    checksum = _EMPTY_SUM + sum(encoded) + sum(octal) - 11 * ord("0")
    return b"%s%s%s%s%06o%s" % (
        encoded.ljust(100, b"\0"),
        _EMPTY[100:124],
        octal,
        _EMPTY[135:148],
        checksum,
        _EMPTY[154:],
    )


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
