"""Hashes of file contents, which determine the split and show later commands whether the images are the same."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from snellen.data.shards.path import ShardPath
from snellen.errors import UserError

_SETTLED = 2 * 10**9  # nanoseconds; a file that was changed later may change again with the same time


def content_hashes(paths: Sequence[Path]) -> list[str]:
    """SHA-256 of each file's bytes, in hexadecimal.

    Raises UserError for a file that cannot be read, or whose name is not UTF-8, as the tables of a run need.
    """
    for path in paths:
        try:
            str(path).encode()
        except UnicodeEncodeError:
            name = os.fsencode(path).decode("utf-8", "backslashreplace")
            raise UserError(f"{name}: the name is not UTF-8. Rename it: convmv -r -f latin1 -t utf8 FOLDER") from None
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(content_hash, paths, chunksize=64))


def content_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal; the file is read again only if it has changed in the meantime.

    Raises UserError for a file that cannot be read.
    """
    if isinstance(path, ShardPath) and (digest := path.digest) is not None:
        return digest
    try:
        state = path.stat()
        if time.time_ns() - max(state.st_mtime_ns, state.st_ctime_ns) < _SETTLED:
            return _hash_of_bytes(path)
        return _hash_in_state(str(path), state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error


@cache
def _hash_in_state(path: str, *state: int) -> str:
    return _hash_of_bytes(Path(path))


def _hash_of_bytes(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def text_hash(text: str) -> str:
    """SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def share_of_hash(digest: str) -> float:
    """A number in [0, 1) from a hash, uniformly distributed over different contents."""
    return int(digest[:13], 16) / 16**13


def combined(parts: Iterable[str]) -> str:
    """One hash of many texts, independent of their order."""
    return text_hash("\n".join(sorted(parts)))
