"""Writing files so that a reader never sees half of one, and the folder of what is kept outside runs."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from snellen.errors import UserError
from snellen.words import causes, kind_of

T = TypeVar("T")

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})  # EFBIG: more than the system lets one file hold
_LOCK = ".lock"
_REFUSED = frozenset({errno.EACCES, errno.EROFS, errno.EPERM, errno.EIO, errno.ESTALE})


def as_path(value: object, what: str) -> Path:
    """A path that a caller of Python gave as text or as a path. what: for the message. Raises UserError."""
    if not isinstance(value, str | os.PathLike):
        raise UserError(f"{what}: expected a path, got {kind_of(value)}.")
    return Path(value)


def cache_folder() -> Path:
    """SNELLEN_CACHE, or snellen in the user's cache folder (XDG_CACHE_HOME, ~/Library/Caches on macOS, ~/.cache)."""
    own_folder = os.environ.get("SNELLEN_CACHE")
    if own_folder:
        return Path(own_folder)
    caches = os.environ.get("XDG_CACHE_HOME")
    if caches:
        return Path(caches) / "snellen"
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "snellen"


def check_new_file(path: Path, force: bool) -> None:
    """Raises UserError if a file to be written is a folder, or exists and may not be replaced."""
    if path.is_dir():
        raise UserError(f"{path}: is a folder; expected a file name, such as {path / 'NAME'}.")
    if path.exists() and not force:
        raise UserError(f"{path}: already exists. To replace it: --force (in Python: force=True), or choose another.")


def check_new_folder(out: Path, force: bool, is_own: Callable[[Path], bool], what: str) -> None:
    """Raises UserError unless a folder is free, or may be replaced. is_own: whether it is `what`, such as "a folder of
    shards": nothing else is replaced."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out.is_dir() and is_own(out)):
        raise UserError(f"{out}: already exists, and is not {what}. Choose another.")
    if not force:
        raise UserError(f"{out}: already exists. To replace it: --force (in Python: force=True), or choose another.")


def lock(file: IO[str], held: str) -> str | None:
    """Locks an open file for this process until it is closed; returns why not if the file system does not support it.

    Raises UserError, which says `held`, if another process has locked it.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(held) from None
    except OSError as error:
        return error.strerror
    return None


@contextmanager
def replacing(path: Path, previous: Path | None = None) -> Iterator[Path]:
    """Yields a temporary path next to `path`; on success it replaces `path`, on failure it is removed.

    The content is on disk before the rename, so neither a kill nor a power failure leaves half a file. The file's
    permissions are those of any new file of the process. previous: what the replaced file is renamed to; a kill between
    the two renames leaves only that one. Raises UserError if the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)  # a link of that name would be followed
        temporary.touch(exist_ok=False)
        mode = temporary.stat().st_mode
        yield temporary
        temporary.chmod(mode & 0o777)  # safetensors makes files that nobody else can read
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        if previous is not None and path.exists():
            path.replace(previous)
        temporary.replace(path)
    except Exception as error:
        number = _error_number(error)
        if number in _FULL:
            raise UserError(f"{path}: the disk is full; nothing of this file was kept. Free some space.") from error
        if number in _REFUSED | {errno.ENOTDIR, errno.EEXIST}:
            raise UserError(f"{path}: cannot be written ({os.strerror(number)}). Choose another folder.") from error
        raise
    finally:
        with suppress(OSError):  # of a folder that is not there or not writable, the first error says more
            temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Yields a hidden folder beside `out`, for files, that becomes `out`; on failure it is removed.

    What a killed process has left is removed too. A folder that is there already is replaced.
    Raises UserError if the disk is full or cannot be written, or if another process writes the same folder.
    """
    partial = out.with_name(f".{out.name}.partial")
    try:
        partial.mkdir(parents=True, exist_ok=True)
        with (partial / _LOCK).open("w") as file:
            lock(file, f"{out}: another process is writing it.")  # on a file system without locks, nothing
            for leftover in partial.iterdir():
                if leftover.name != _LOCK:
                    leftover.unlink()
            try:
                yield partial
                (partial / _LOCK).unlink()
                replaced = out.with_name(f".{out.name}.replaced")
                shutil.rmtree(replaced, ignore_errors=True)
                if out.exists():
                    out.rename(replaced)
                partial.rename(out)
                shutil.rmtree(replaced, ignore_errors=True)
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror}).") from error


def why_not_written(error: OSError) -> str | None:
    """What keeps a file from being written, in words; None for any other error."""
    if error.errno in _FULL:
        return "the disk is full"
    return f"cannot be written ({os.strerror(error.errno)})" if error.errno in _REFUSED else None


def _error_number(error: BaseException | None) -> int | None:
    """The number of the system error behind an exception; torch and safetensors raise others in its place."""
    for cause in causes(error):
        if isinstance(cause, OSError):
            return cause.errno
        if match := re.search(r"\(os error (\d+)\)", str(cause)):
            return int(match[1])
    return None


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON value whole or not at all; NaN and infinity are refused, since JSON has neither."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """A JSON value as indented text, with a line end; ValueError for NaN and infinity."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)  # which takes milliseconds


def from_json(kind: type[T], text: str) -> T:
    """JSON as a value of a type, such as a dataclass, checked; fields that it does not have are ignored.

    Raises ValueError that names what is missing or wrong.
    """
    try:
        value: T = _adapter(cast("Any", kind)).validate_json(text, strict=True)
        return value
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        key = ".".join(map(str, detail["loc"]))
        message = "is missing" if detail["type"] == "missing" else detail["msg"]
        raise ValueError(f"'{key}' {message}" if key else message) from None
