"""Hashes of files, kept between commands in the user's cache folder: a file that has not changed is not read again.

A file counts as unchanged if its path, inode, size and both times are the same. Whatever goes wrong with the folder
costs time only: the files are then read.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

from snellen.files import cache_folder

_SCHEMA = "CREATE TABLE IF NOT EXISTS hashes (file BLOB PRIMARY KEY, digest BLOB) WITHOUT ROWID"
_AT_ONCE = 500  # values in a statement
# RuntimeError: there is no home folder. UnicodeDecodeError: sqlite quotes damaged bytes in its message.
_ERRORS = (OSError, RuntimeError, sqlite3.Error, UnicodeDecodeError)


def hash_folder() -> Path:
    """Where they are kept."""
    return cache_folder() / "hashes"


def file_key(path: Path, state: os.stat_result) -> bytes:
    """The key of a file in a state."""
    text = f"{path.absolute()} {state.st_ino} {state.st_size} {state.st_mtime_ns} {state.st_ctime_ns}"
    return blake2b(os.fsencode(text), digest_size=16).digest()


def find(keys: Sequence[bytes]) -> dict[bytes, str]:
    """The SHA-256, in hexadecimal, of those files that are known."""
    known: dict[bytes, str] = {}
    with contextlib.suppress(*_ERRORS), _connected() as index:
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            marks = ", ".join("?" * len(some))
            rows = index.execute(f"SELECT file, digest FROM hashes WHERE file IN ({marks})", some)
            known |= {key: digest.hex() for key, digest in rows if isinstance(digest, bytes) and len(digest) == 32}
    return known


def keep(digests: Mapping[bytes, str]) -> None:
    """Adds files."""
    with contextlib.suppress(*_ERRORS), _connected() as index:
        rows = [(key, bytes.fromhex(digest)) for key, digest in digests.items()]
        index.executemany("INSERT OR REPLACE INTO hashes VALUES (?, ?)", rows)


@contextlib.contextmanager
def _connected() -> Iterator[sqlite3.Connection]:
    """A connection of its own each time, for threads and processes alike. A damaged file is deleted."""
    folder = hash_folder()
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "index.sqlite"
    connection = sqlite3.connect(file, timeout=60)
    try:
        connection.execute("PRAGMA synchronous = OFF")  # what a power failure damages is read again
        with connection:
            connection.execute(_SCHEMA)
            yield connection
    except sqlite3.OperationalError:
        raise  # locked, full or read-only
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        file.unlink(missing_ok=True)
        raise
    finally:
        connection.close()
