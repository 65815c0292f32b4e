"""Hashes of files, kept between commands in the user's cache folder: a file that has not changed is not read again.

A file counts as unchanged if its path, inode, size and both times are the same. Whatever goes wrong with the folder
costs time only: the files are then read.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

from snellen.data.kept import AT_ONCE, ERRORS, connected
from snellen.files import cache_folder

_SCHEMA = "CREATE TABLE IF NOT EXISTS hashes (file BLOB PRIMARY KEY, digest BLOB) WITHOUT ROWID"


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
    with contextlib.suppress(*ERRORS), connected(hash_folder(), _SCHEMA) as index:
        for start in range(0, len(keys), AT_ONCE):
            some = keys[start : start + AT_ONCE]
            marks = ", ".join("?" * len(some))
            rows = index.execute(f"SELECT file, digest FROM hashes WHERE file IN ({marks})", some)
            known |= {key: digest.hex() for key, digest in rows if isinstance(digest, bytes) and len(digest) == 32}
    return known


def keep(digests: Mapping[bytes, str]) -> None:
    """Adds files."""
    with contextlib.suppress(*ERRORS), connected(hash_folder(), _SCHEMA) as index:
        rows = [(key, bytes.fromhex(digest)) for key, digest in digests.items()]
        index.executemany("INSERT OR REPLACE INTO hashes VALUES (?, ?)", rows)
