"""Decoded pixels kept on disk between runs, in the user's cache folder.

An entry is what a run keeps of one file: exact bytes, their order in memory, and a few numbers found while decoding.
Its key is a hash of the file's content and of how it is read, which includes the versions of what reads it. The bytes
lie in segment files (`data/segments.py`), index.sqlite says where. Each entry has a checksum over all of this, verified
the first time that a process reads it; what is damaged, or was lost in a crash, is decoded again. So nothing is ever
forced to disk, and the whole folder may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from threading import Lock

import torch
from PIL import features
from torch import Tensor

from snellen.data.bands import TIFF_SUFFIXES
from snellen.data.fingerprint import content_hash
from snellen.data.segments import Segments
from snellen.errors import UserError
from snellen.files import cache_folder

_READER = 1  # to be increased when snellen reads or resizes pixels differently; tests/data/test_reader.py notices
_INDEX = "index.sqlite"
_SCHEMA = """CREATE TABLE IF NOT EXISTS entries (
    key BLOB PRIMARY KEY, segment TEXT, start INTEGER, length INTEGER, checksum INTEGER, facts TEXT
) WITHOUT ROWID"""


@dataclass(frozen=True)
class Entry:
    """pixels: uint8, any layout in memory. numbers: what else decoding has found out."""

    pixels: Tensor
    numbers: tuple[int, ...] = ()


def pixel_folder() -> Path:
    """Where decoded pixels are kept."""
    return cache_folder() / "pixels"


class DiskCache:
    """Entries in the user's cache folder, shared by all runs and processes, at most `limit_mib` MiB; 0: off.

    Whatever goes wrong with the folder is printed once and costs time only: images are then decoded. Thread-safe.
    """

    def __init__(self, limit_mib: int) -> None:
        self._lock = Lock()
        self._index: sqlite3.Connection | None = None
        self._is_filling = True
        self._verified: set[int] = set()
        self._noted: set[str] = set()
        if limit_mib == 0:
            return
        self._full = f"it is full (data.disk_cache_mib={limit_mib}, and at most half of what the disk has free)"
        try:
            self._folder = pixel_folder()
            self._folder.mkdir(parents=True, exist_ok=True)
            self._index = self._opened()
        except (OSError, RuntimeError, sqlite3.Error, UnicodeDecodeError) as error:  # RuntimeError: no home folder
            self._note("is not used", error)
            return
        self._segments = Segments(self._folder, limit_mib * 2**20, self._forget)

    def fetch(self, path: Path, reading: str, read: Callable[[Path], Entry]) -> Entry:
        """read(path) of an image file, taken from the disk if it is there, and else kept there.

        reading: everything besides the file's content that the result depends on. Raises what `read` raises.
        """
        key = self._key(path, reading)
        entry = None if key is None else self._read(key)
        if entry is not None:
            return entry
        entry = read(path)
        if key is not None and self._key(path, reading) == key:  # else the file has changed in the meantime
            self._write(key, entry)
        return entry

    def fetch_many(
        self, paths: Sequence[Path], reading: str, read: Callable[[Sequence[int]], Iterator[tuple[int, Entry]]]
    ) -> Iterator[tuple[int, Entry]]:
        """As `fetch`, where files are read in batches: (row, entry) of each, those that are kept first.

        read: yields the entries of the rows that it is given, and may leave some out.
        """
        keys = [self._key(path, reading) for path in paths]
        missing = []
        for row, key in enumerate(keys):
            entry = None if key is None else self._read(key)
            if entry is None:
                missing.append(row)
            else:
                yield row, entry
        for row, entry in read(missing) if missing else ():
            key = keys[row]
            if key is not None and self._key(paths[row], reading) == key:
                self._write(key, entry)
            yield row, entry

    def _key(self, path: Path, reading: str) -> bytes | None:
        if self._index is None:
            return None
        try:
            parts = [content_hash(path), reading, _readers()]
            if path.suffix.lower() in TIFF_SUFFIXES:  # others are never read by bands
                beside = path.with_name(f"{path.name}.aux.xml")  # where GDAL may find a palette
                parts.append(content_hash(beside) if beside.exists() else "TIFF")
        except UserError:  # decoding says more
            return None
        return blake2b("\n".join(parts).encode("utf-8", "surrogateescape"), digest_size=16).digest()

    def _read(self, key: bytes) -> Entry | None:
        try:
            with self._lock:
                if self._index is None:
                    return None
                columns = "segment, start, length, checksum, facts"
                row = self._index.execute(f"SELECT {columns} FROM entries WHERE key = ?", (key,)).fetchone()
                if row is None:
                    return None
                segment, start, length, checksum, facts = row
                mapped = self._segments.mapped(segment, start + length)
            number = hash((key, row))
            if number not in self._verified:
                if _checksum(key, facts, memoryview(mapped)[start : start + length]) != checksum:
                    raise ValueError("the checksum differs")
                self._verified.add(number)
            shape, order, numbers = json.loads(facts)
            flat = torch.frombuffer(mapped, dtype=torch.uint8, count=length, offset=start)
            inverse = [order.index(axis) for axis in range(len(order))]
            return Entry(flat.view([shape[axis] for axis in order]).permute(inverse), tuple(numbers))
        except FileNotFoundError:  # deleted to make room
            return None
        except sqlite3.Error as error:
            self._give_up(error)
        except Exception as error:  # a damaged index may hold any type and any number
            self._note("has an entry that cannot be read; its image is decoded", error)
        return None

    def _write(self, key: bytes, entry: Entry) -> None:
        order = sorted(range(entry.pixels.dim()), key=entry.pixels.stride, reverse=True)
        data = entry.pixels.permute(order).contiguous().view(-1).numpy().data
        facts = json.dumps([list(entry.pixels.shape), order, list(entry.numbers)])
        checksum = _checksum(key, facts, data)
        try:
            with self._lock:
                if self._index is None or not self._is_filling:
                    return
                place = self._segments.append(data)
                if place is not None:
                    row = (key, *place, len(data), checksum, facts)
                    self._index.execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?)", row)
                    return
                self._is_filling = False
            self._note("keeps no more images", self._full)
        except (OSError, sqlite3.OperationalError) as error:
            self._is_filling = False
            self._note("keeps no more images", error)
        except sqlite3.Error as error:
            self._give_up(error)

    def _opened(self) -> sqlite3.Connection:
        """A connection to the index, a new one if it is damaged."""
        try:
            return _connected(self._folder / _INDEX)
        except sqlite3.OperationalError:
            raise  # it cannot be opened or is locked
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            self._note("has a damaged index and starts anew", error)
            self._discard_index()
            return _connected(self._folder / _INDEX)

    def _give_up(self, error: sqlite3.Error) -> None:
        """Decodes from now on; the next run starts with a new index if this one is damaged."""
        with self._lock:
            self._index = None
        self._note("is no longer used", error)
        if not isinstance(error, sqlite3.OperationalError):
            with contextlib.suppress(OSError):
                self._discard_index()

    def _discard_index(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            (self._folder / f"{_INDEX}{suffix}").unlink(missing_ok=True)

    def _forget(self, segment: str) -> None:
        assert self._index is not None
        self._index.execute("DELETE FROM entries WHERE segment = ?", (segment,))

    def _note(self, what: str, why: object) -> None:
        if what not in self._noted:
            self._noted.add(what)
            print(f"note: the cache of decoded images {what}: {why}", file=sys.stderr, flush=True)


def _connected(path: Path) -> sqlite3.Connection:
    index = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
    index.execute("PRAGMA synchronous = OFF")  # what a power failure damages is decoded again
    index.execute("PRAGMA journal_mode = WAL")
    index.execute(_SCHEMA)
    return index


def _checksum(key: bytes, facts: str, data: memoryview) -> int:
    return zlib.crc32(data, zlib.crc32(facts.encode(), zlib.crc32(key)))


@cache
def _readers() -> str:
    """The versions of what decodes and resizes; another one may give other pixels."""
    libraries = [features.version(name) for name in ("jpg", "libjpeg_turbo", "jpg_2000", "webp")]
    packages = [_version(name) for name in ("snellen", "pillow", "torch", "torchvision", "rasterio", "pillow-heif")]
    return f"{_READER} {packages} {libraries} {torch.backends.cpu.get_cpu_capability()}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
