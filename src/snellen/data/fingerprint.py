"""Hashes of file contents, which determine the split and show later commands whether the images are the same."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from snellen.errors import UserError


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
        return list(pool.map(_content_hash, paths, chunksize=64))


def text_hash(text: str) -> str:
    """SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def share_of_hash(digest: str) -> float:
    """A number in [0, 1) from a hash, uniformly distributed over different contents."""
    return int(digest[:13], 16) / 16**13


def combined(parts: Iterable[str]) -> str:
    """One hash of many texts, independent of their order."""
    return text_hash("\n".join(sorted(parts)))


def _content_hash(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error
