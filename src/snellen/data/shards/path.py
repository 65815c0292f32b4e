"""A file in shards as a Path: what reads a folder reads shards, in the same way and with the same result."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path, PosixPath
from typing import IO, Any

from snellen.data.shards.opened import Shards

_opened: dict[str, Shards] = {}
"""The shards that this process has opened, by the absolute path of their root."""
_opened_count = 0  # how often shards were opened
_Place = tuple[Shards, str] | None


class ShardPath(PosixPath):
    """A path below the root of opened shards: a file in one of them, a folder, or nothing. Read-only.

    What is derived from it (`/`, parent, with_name) is a ShardPath too. Anywhere else it is an ordinary path.
    """

    _found: tuple[int, _Place] = -1, None

    @property
    def _place(self) -> _Place:
        """The shards, and the name in them; looked up again after shards were opened."""
        count, place = self._found
        if count != _opened_count:
            place = _looked_up(os.path.abspath(self))
            self._found = _opened_count, place
        return place

    @property
    def digest(self) -> str | None:
        """SHA-256 of a file in shards, in hexadecimal, from their index; None for anything else."""
        place = self._place
        row = None if place is None else place[0].row(place[1])
        return None if place is None or row is None else place[0].digest(row).hex()

    def entries(self) -> list[str] | None:
        """The names in a folder in shards, sorted; those of folders end with a slash. None for anything else."""
        place = self._place
        return None if place is None else place[0].entries(place[1])

    def open(  # type: ignore[override]
        self, mode: str = "r", buffering: int = -1, encoding: Any = None, errors: Any = None, newline: Any = None
    ) -> IO[Any]:
        place = self._place
        if place is None:
            return super().open(mode, buffering, encoding, errors, newline)
        shards, name = place
        row = shards.row(name)
        if row is None:
            raise FileNotFoundError(2, "No such file in the shards", str(self))
        if mode not in {"r", "rb"}:
            raise PermissionError(30, "Shards are read-only", str(self))
        content = io.BytesIO(shards.read(row))
        return content if mode == "rb" else io.TextIOWrapper(content, encoding, errors, newline)

    def read_bytes(self) -> bytes:
        with self.open("rb") as file:
            content: bytes = file.read()
            return content

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        place = self._place
        if place is None:
            return super().stat(follow_symlinks=follow_symlinks)
        shards, name = place
        row = shards.row(name)
        if row is not None:
            return os.stat_result((stat.S_IFREG | 0o444, row, 0, 1, 0, 0, int(shards.index.size[row]), 0, 0, 0))
        if shards.entries(name) is None:
            raise FileNotFoundError(2, "No such file in the shards", str(self))
        return os.stat_result((stat.S_IFDIR | 0o555, 0, 0, 1, 0, 0, 0, 0, 0, 0))

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        try:
            self.stat(follow_symlinks=follow_symlinks)
        except OSError:
            return False
        return True

    def is_file(self, **options: bool) -> bool:
        return self.exists() and stat.S_ISREG(self.stat().st_mode)

    def is_dir(self, **options: bool) -> bool:
        return self.exists() and stat.S_ISDIR(self.stat().st_mode)

    def iterdir(self) -> Iterator[ShardPath]:  # type: ignore[override]
        names = self.entries()
        if names is None:
            yield from super().iterdir()
        else:
            yield from (self / name for name in names)

    def resolve(self, strict: bool = False) -> ShardPath:
        return self if self.is_absolute() and self._place is not None else super().resolve(strict)


def opened_at(root: Path, shards: Shards) -> ShardPath:
    """The root of shards from now on, as a path. root: absolute, without links."""
    global _opened_count
    _opened[str(root)] = shards
    _opened_count += 1
    return ShardPath(root)


def is_opened(path: Path) -> bool:
    """Whether a path leads into shards that this process has opened."""
    return ShardPath(path)._place is not None


def _looked_up(text: str) -> _Place:
    for root, shards in _opened.items():
        if text.startswith(root) and (len(text) == len(root) or text[len(root)] == "/"):
            return shards, text[len(root) + 1 :]
    return None
