"""Hashes of file contents, which determine the split and show later commands whether the images are the same."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import TypeVar

from snellen.data.kept_hashes import file_key, find, keep
from snellen.data.shards.path import ShardPath
from snellen.data.stalled import watched
from snellen.errors import UserError
from snellen.words import counted

_SETTLED = 2 * 10**9  # nanoseconds; a file that was changed later may change again with the same time
_MANY, _MUCH = 100_000, 16 * 2**30  # files and bytes; reading more takes minutes
_CHUNK = 256  # files a thread works on at a time

Result = TypeVar("Result")

_known: dict[bytes, str] = {}  # in this process


def is_large(paths: Sequence[Path]) -> bool:
    """Whether reading all of these files takes minutes. Raises UserError for a file that is not there."""
    if len(paths) > _MANY:
        return True
    return sum(_in_threads(lambda some: [_state(path).st_size for path in some], paths)) > _MUCH


def uncompared_note(count: int) -> str:
    """A note on images whose contents were not compared."""
    return (
        f"{counted(count, 'image')} of which none was read before the start: copies, and damaged files, are found by "
        "snellen check"
    )


def names_and_sizes(paths: Sequence[Path], names: Sequence[str]) -> list[str]:
    """What stands for each of many files in place of the hash of its content; no two are equal. names: unique ones."""
    _check_names(paths)
    sizes = _in_threads(lambda some: [_state(path).st_size for path in some], paths)
    return [f"{size} {name}" for size, name in zip(sizes, names, strict=True)]


def content_hashes(paths: Sequence[Path]) -> list[str]:
    """SHA-256 of each file's bytes, in hexadecimal; a file is read again only if it has changed in the meantime.

    Raises UserError for a file that cannot be read, or whose name is not UTF-8, as the tables of a run need.
    """
    _check_names(paths)
    return _in_threads(_hashes, paths)


def identities(paths: Sequence[Path], names: Sequence[str], by_content: bool) -> list[str]:
    """`content_hashes`, or `names_and_sizes` where the contents are not to be read. Raises UserError as these."""
    return content_hashes(paths) if by_content else names_and_sizes(paths, names)


def content_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, as in `content_hashes`. Raises UserError for a file that cannot be read."""
    return _hashes([path])[0]


def _hashes(paths: Sequence[Path]) -> list[str]:
    indexed = [path.digest if isinstance(path, ShardPath) else None for path in paths]
    keys = [_key(path) if digest is None else None for path, digest in zip(paths, indexed, strict=True)]
    missing = [key for key in keys if key is not None and key not in _known]
    if missing:
        _known.update(find(missing))
    digests, new = [], {}
    for path, digest, key in zip(paths, indexed, keys, strict=True):
        if digest is None and key is not None:
            digest = _known.get(key)
        if digest is None:
            digest = _hash_of_bytes(path)
            if key is not None:
                new[key] = digest
        digests.append(digest)
    if new:
        _known.update(new)
        keep(new)
    return digests


def _key(path: Path) -> bytes | None:
    """The key of a file by which its hash is kept; None if it was changed just now."""
    state = _state(path)
    is_settled = time.time_ns() - max(state.st_mtime_ns, state.st_ctime_ns) >= _SETTLED
    return file_key(path, state) if is_settled else None


def _check_names(paths: Sequence[Path]) -> None:
    for path in paths:
        try:
            str(path).encode()
        except UnicodeEncodeError:
            name = os.fsencode(path).decode("utf-8", "backslashreplace")
            raise UserError(f"{name}: the name is not UTF-8. Rename it: convmv -r -f latin1 -t utf8 FOLDER") from None


def _in_threads(function: Callable[[Sequence[Path]], list[Result]], paths: Sequence[Path]) -> list[Result]:
    chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(chain.from_iterable(pool.map(function, chunks)))


def _state(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error


def _hash_of_bytes(path: Path) -> str:
    try:
        with watched(path):
            content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error
    return hashlib.sha256(content).hexdigest()


def text_hash(text: str) -> str:
    """SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def share_of_hash(digest: str) -> float:
    """A number in [0, 1) from a hash, uniformly distributed over different contents."""
    return int(digest[:13], 16) / 16**13


def combined(parts: Iterable[str]) -> str:
    """One hash of many texts, independent of their order."""
    return text_hash("\n".join(sorted(parts)))
