"""Claiming a folder for a run: no two processes write to one, and no run is overwritten."""

from __future__ import annotations

import fcntl
import json
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from snellen.errors import UserError
from snellen.files import lock

_LOCK = ".lock"
_HALF_WRITTEN = r"\.[\w.-]+\.\d+\.tmp"  # what files.replacing has not finished

# Files that a killed set-up may have left; recipe.yaml is written last and makes the folder a run.
_SET_UP = re.compile(rf"\.lock|samples\.csv|images\.tsv|data\.json|environment\.json|status\.json|{_HALF_WRITTEN}")


@contextmanager
def new_run(out: Path | None, name: str) -> Iterator[Path]:
    """Yields a new directory, `out` or runs/<name>-<time>, held for this process. It is removed if setting up fails.

    Files left in `out` by a killed set-up are removed. Raises UserError if `out` holds anything else, or if another
    process has claimed it.
    """
    path = out if out is not None else _free(Path("runs"), name)
    _check_free(path)
    existed = path.exists()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be created ({error.strerror}). Choose another folder with --out.") from error
    with locked(path):
        _check_free(path)  # another process may have started a run there before it was locked
        for file in path.iterdir():
            if file.name != _LOCK:
                file.unlink()
        try:
            yield path
        except BaseException as error:
            if not (path / "recipe.yaml").is_file():
                shutil.rmtree(path)
                if existed:
                    path.mkdir()
                if isinstance(error, KeyboardInterrupt):
                    raise KeyboardInterrupt(
                        "stopped while the run was being set up; nothing was kept. The same command starts it again."
                    ) from None
            raise


def _check_free(path: Path) -> None:
    """Raises UserError if a folder holds anything but the files of a killed set-up."""
    if not path.exists():
        return
    names = {file.name for file in path.iterdir()} if path.is_dir() else {""}
    if not names or (_LOCK in names and all(_SET_UP.fullmatch(name) for name in names)):
        return
    if (path / "recipe.yaml").is_file():
        hint = "It holds a finished run. "
        if _state(path) != "finished":
            hint = f"It holds a run. To resume it: snellen train --resume {path}\n"
    else:
        hint = "It holds other files. "
    raise UserError(f"{path}: not an empty folder. {hint}Choose another folder with --out.")


def _state(run: Path) -> str | None:
    with suppress(OSError, ValueError, LookupError, TypeError):  # a damaged file
        return str(json.loads((run / "status.json").read_text(encoding="utf-8"))["state"])
    return None


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Holds a run directory, or a study's, for this process, and removes half-written files that a killed one has left.

    Raises UserError if another process holds it, or if it contains symbolic links: a run from elsewhere could have this
    process write to the files that they point to. If the file system does not support locks, prints a note and holds
    nothing.
    """
    link = next((path for path in run.rglob("*") if path.is_symlink()), None)
    if link is not None:
        raise UserError(
            f"{link}: is a symbolic link, and what a run writes stays in its folder. Replace it by its target."
        )
    try:
        file = (run / _LOCK).open("w")
    except OSError as error:
        raise UserError(f"{run}: cannot be written ({error.strerror}).") from error
    with file:
        why_not = lock(file, f"{run}: another process is training this run.")
        if why_not is None:
            with suppress(OSError):
                _remove_half_written(run)
        else:
            print(
                f"note: {run}: files cannot be locked here ({why_not}); make sure that no two processes train this run",
                file=sys.stderr,
            )
        if not (run / _LOCK).exists():  # the previous holder failed to set up its run and removed the folder
            raise UserError(f"{run}: another process has just released this folder. Try again.")
        yield


def _remove_half_written(run: Path) -> None:
    """Those in the folder and in its subfolders; runs of a study have locks of their own."""
    subfolders = [folder for folder in run.iterdir() if folder.is_dir() and not (folder / _LOCK).exists()]
    for folder in (run, *subfolders):
        for file in folder.iterdir():
            if re.fullmatch(_HALF_WRITTEN, file.name):
                file.unlink(missing_ok=True)


def is_locked(run: Path) -> bool:
    """Whether a process is training this run now; False if the file system does not support locks."""
    try:
        with (run / _LOCK).open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _free(parent: Path, name: str) -> Path:
    stem = f"{re.sub(r'[^A-Za-z0-9._-]+', '-', name)}-{datetime.now():%Y%m%d-%H%M%S}"
    path, number = parent / stem, 1
    while path.exists():
        number += 1
        path = parent / f"{stem}-{number}"
    return path
