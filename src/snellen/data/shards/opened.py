"""Opened shards: the tree of their files, and the bytes of each."""

from __future__ import annotations

import hashlib
import os
from functools import cached_property
from pathlib import Path
from typing import Protocol

from snellen.data.memory import free_memory
from snellen.data.shards.index import Index
from snellen.errors import UserError

_LARGE = 2**28  # bytes from which the free memory is looked at


class Reader(Protocol):
    """Where the bytes of shards come from. Thread-safe."""

    def read(self, shard: int, start: int, length: int) -> bytes:
        """Bytes of a shard."""

    def forget(self, shard: int, start: int, length: int) -> bool:
        """Drops what is kept of these bytes, so that they are read anew; False if nothing is kept."""


class LocalReader:
    """Shards in a folder. Raises UserError for a shard that is missing or has another size than its index says."""

    def __init__(self, folder: Path, index: Index) -> None:
        paths = [folder / shard.name for shard in index.shards]
        self._paths = [str(path) for path in paths]
        for path, shard in zip(paths, index.shards, strict=True):
            size = path.stat().st_size if path.is_file() else None
            if size != shard.size:
                found = "missing" if size is None else f"{size:,} bytes"
                raise UserError(f"{path}: {found}; expected {shard.size:,} bytes. Copy or write the shards again.")

    def read(self, shard: int, start: int, length: int) -> bytes:
        """Bytes of a shard."""
        file = os.open(self._paths[shard], os.O_RDONLY)
        try:
            content = b""  # of more than 2 GiB, the system gives a part at a time
            while more := os.pread(file, length - len(content), start + len(content)):
                content += more
            return content
        finally:
            os.close(file)

    def forget(self, shard: int, start: int, length: int) -> bool:
        """False: nothing is kept."""
        return False


class Shards:
    """Files in shards. name: of the shards in messages, a folder or a URL. checked: whether contents are verified.

    Names are relative to the root, "" is the root itself. Thread-safe.
    """

    def __init__(self, name: str, index: Index, reader: Reader, checked: bool) -> None:
        self.name, self.index = name, index
        self._reader, self._checked = reader, checked
        self._rows = {path: row for row, path in enumerate(index.names)}

    @cached_property
    def _folders(self) -> dict[str, list[str]]:
        """The names in each folder, sorted; those of folders end with a slash."""
        names: dict[str, set[str]] = {"": set()}
        for path in self._rows:
            folder, _, name = path.rpartition("/")
            while folder not in names:  # a new folder and those above it
                names[folder] = set()
                names[folder].add(name)
                folder, _, name = folder.rpartition("/")
                name += "/"
            names[folder].add(name)
        return {folder: sorted(entries) for folder, entries in names.items()}

    def row(self, name: str) -> int | None:
        """The row of a file in the index, None if there is no such file."""
        return self._rows.get(name)

    def entries(self, folder: str) -> list[str] | None:
        """The names in a folder, sorted; those of folders end with a slash. None if there is no such folder."""
        return self._folders.get(folder)

    def digest(self, row: int) -> bytes:
        """SHA-256 of a file's content, 32 bytes."""
        digest: bytes = self.index.digest[row].tobytes()
        return digest

    def read(self, row: int) -> bytes:
        """The content of a file. Raises OSError if it is not what the index says, UserError as the reader does."""
        index = self.index
        size = int(index.size[row])
        if size > _LARGE and size > free_memory() // 2:
            raise OSError(f"a file of {size:,} bytes does not fit into memory")
        place = int(index.shard[row]), int(index.start[row]), size
        content = self._reader.read(*place)
        if not self._is_right(row, content) and self._reader.forget(*place):
            content = self._reader.read(*place)
        if not self._is_right(row, content):
            shard = index.shards[place[0]].name
            hint = "; if the index is new too: snellen cache clear shards" if self._checked else ""
            raise OSError(f"{self.name}: the content of {shard} has changed since its index was written{hint}")
        return content

    def _is_right(self, row: int, content: bytes) -> bool:
        if self._checked:
            return hashlib.sha256(content).digest() == self.digest(row)
        return len(content) == int(self.index.size[row])
