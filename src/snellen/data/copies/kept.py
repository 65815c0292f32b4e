"""Pairs of images that a check found to be near copies, kept in the user's cache folder by the images' contents.

Whatever goes wrong with the folder costs time only: the images are then compared again.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from hashlib import blake2b
from pathlib import Path

from snellen.data.kept import AT_ONCE, ERRORS, connected
from snellen.files import cache_folder

_VERSION = 2  # to be increased when other pairs would be found, or other words for them
_SCHEMA = (
    f"CREATE TABLE IF NOT EXISTS sets{_VERSION} (contents BLOB PRIMARY KEY) WITHOUT ROWID",
    f"CREATE TABLE IF NOT EXISTS pairs{_VERSION} (contents BLOB, first TEXT, second TEXT, distance REAL, "
    "expected REAL, words TEXT, PRIMARY KEY (first, second, contents)) WITHOUT ROWID",
)
_COLUMNS = "first, second, distance, expected, words"


@dataclass(frozen=True)
class KeptPair:
    """Two contents, as SHA-256 in hexadecimal, and the rest as in `search.NearPair`."""

    first: str
    second: str
    distance: float
    expected: float
    words: str


def copies_folder() -> Path:
    """Where they are kept."""
    return cache_folder() / "copies"


def of_set(digests: Sequence[str]) -> list[KeptPair] | None:
    """The pairs that were found in this set of contents; None if just this set was never searched."""
    contents = _hash(digests)
    with contextlib.suppress(*ERRORS), connected(copies_folder(), *_SCHEMA) as index:
        if index.execute(f"SELECT 1 FROM sets{_VERSION} WHERE contents = ?", (contents,)).fetchone() is None:
            return None
        rows = index.execute(f"SELECT {_COLUMNS} FROM pairs{_VERSION} WHERE contents = ?", (contents,)).fetchall()
        return _valid(rows, digests)
    return None


def of_any(digests: Sequence[str]) -> list[KeptPair]:
    """The pairs among these contents that were found in any set."""
    rows: list[tuple[object, ...]] = []
    with contextlib.suppress(*ERRORS), connected(copies_folder(), *_SCHEMA) as index:
        for start in range(0, len(digests), AT_ONCE):
            some = digests[start : start + AT_ONCE]
            marks = ", ".join("?" * len(some))
            rows += index.execute(f"SELECT {_COLUMNS} FROM pairs{_VERSION} WHERE first IN ({marks})", some)
    return list({(pair.first, pair.second): pair for pair in _valid(rows, digests)}.values())


def keep(digests: Sequence[str], pairs: Iterable[KeptPair]) -> None:
    """Keeps the pairs that were found in a set."""
    contents = _hash(digests)
    with contextlib.suppress(*ERRORS), connected(copies_folder(), *_SCHEMA) as index:
        index.execute(f"INSERT OR REPLACE INTO sets{_VERSION} VALUES (?)", (contents,))
        rows = [(contents, *astuple(pair)) for pair in pairs]
        index.executemany(f"INSERT OR REPLACE INTO pairs{_VERSION} VALUES (?, ?, ?, ?, ?, ?)", rows)


def _hash(digests: Sequence[str]) -> bytes:
    """Of a set, whatever its order and the number of files with the same content."""
    return blake2b("\n".join(sorted(set(digests))).encode(), digest_size=16).digest()


def _valid(rows: Iterable[tuple[object, ...]], digests: Sequence[str]) -> list[KeptPair]:
    """Rows of the table as pairs; those that are damaged, or of other contents, are left out."""
    known, pairs = set(digests), []
    for first, second, distance, expected, words in rows:
        if first not in known or second not in known or not isinstance(words, str):
            continue
        if isinstance(distance, float) and isinstance(expected, float) and math.isfinite(distance + expected):
            pairs.append(KeptPair(str(first), str(second), distance, expected, words))
    return pairs
