"""Taking a folder for a run: no two processes write to one, and no run is overwritten."""

from __future__ import annotations

import fcntl
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from snellen.errors import UserError


@contextmanager
def new_run(out: Path | None, name: str) -> Iterator[Path]:
    """Yields a new directory, `out` or runs/<name>-<time>. It is removed again when setting up fails.

    Raises UserError when `out` holds anything already.
    """
    path = out if out is not None else _free(Path("runs"), name)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        if (path / "recipe.yaml").is_file():
            hint = f"It holds a run; to go on with it: snellen train --resume {path}"
        else:
            hint = "It holds other files."
        raise UserError(f"{path}: not an empty folder. {hint} Or choose another with --out.")
    existed = path.exists()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be made ({error.strerror}). Choose another folder with --out.") from error
    try:
        yield path
    except BaseException:
        if not (path / "recipe.yaml").is_file():
            shutil.rmtree(path)
            if existed:
                path.mkdir()
        raise


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Holds a run directory for this process. Raises UserError when another process trains it."""
    with (run / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"{run}: another process is training this run.") from None
        yield


def is_locked(run: Path) -> bool:
    """Whether some process trains this run now."""
    try:
        with locked(run):
            return False
    except UserError:
        return True


def _free(parent: Path, name: str) -> Path:
    stem = f"{re.sub(r'[^A-Za-z0-9._-]+', '-', name)}-{datetime.now():%Y%m%d-%H%M%S}"
    path, number = parent / stem, 1
    while path.exists():
        number += 1
        path = parent / f"{stem}-{number}"
    return path
