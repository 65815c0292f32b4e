"""Lists and clears what is kept outside runs: modes, decoded pixels, hashes, near copies, remote shards."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from snellen.data.copies.kept import copies_folder
from snellen.data.disk_cache import pixel_folder
from snellen.data.kept_hashes import hash_folder
from snellen.data.shards.remote import shard_folder
from snellen.engine.decisions import mode_folder
from snellen.errors import UserError
from snellen.words import counted, did_you_mean

_PARTS: dict[str, tuple[Callable[[], Path], str]] = {
    "modes": (mode_folder, "measured modes"),
    "pixels": (pixel_folder, "decoded images, and features"),
    "hashes": (hash_folder, "hashes of files"),
    "copies": (copies_folder, "near copies among images"),
    "shards": (shard_folder, "remote shards, and indices of tar files"),
}


@dataclass(frozen=True)
class Part:
    """A part of the cache. size: of its files, in bytes."""

    part: str
    content: str
    files: int
    size: int
    folder: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def contents() -> list[Part]:
    """What is kept. Raises UserError if there is no home folder."""
    parts = []
    for name, (folder, text) in _PARTS.items():
        path = _found(folder)
        sizes = _sizes(path)
        parts.append(Part(name, text, len(sizes), sum(sizes), str(path)))
    return parts


def cache_table(parts: Sequence[Part]) -> Table:
    """One line for each part: what it is, files, size, folder."""
    table = Table(box=None, pad_edge=False)
    for column in ("part", "content", "files", "size", "folder"):
        table.add_column(column, justify="right" if column in {"files", "size"} else "left", overflow="fold")
    for part in parts:
        table.add_row(part.part, part.content, f"{part.files:,}", decimal(part.size), escape(part.folder))
    return table


def clear(parts: Sequence[str] = ()) -> str:
    """Deletes the given parts, or all; returns what was deleted, in words. Runs in progress go on without them.

    Raises UserError for an unknown part and for a folder that cannot be deleted.
    """
    for name in parts:
        if name not in _PARTS:
            raise UserError(f"{name}: no such part. Known: {', '.join(_PARTS)}.{did_you_mean(name, _PARTS)}")
    sizes: list[int] = []
    for name in parts or _PARTS:
        folder = _found(_PARTS[name][0])
        sizes += _sizes(folder)
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise UserError(f"{folder}: cannot be deleted ({error.strerror}).") from error
    return f"deleted {counted(len(sizes), 'file')}, {decimal(sum(sizes))}"


def _found(folder: Callable[[], Path]) -> Path:
    try:
        return folder()
    except RuntimeError:
        raise UserError("there is no home folder. Set SNELLEN_CACHE to the folder of the cache.") from None


def _sizes(folder: Path) -> list[int]:
    return [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
