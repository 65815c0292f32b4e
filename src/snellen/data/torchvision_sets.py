"""torchvision's built-in classification sets, written as ordinary class folders."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from snellen.errors import UserError
from snellen.files import replacing, write_text
from snellen.words import first_line

PREFIX = "torchvision:"
_BY_TRAIN_FLAG = ("CIFAR10", "CIFAR100", "FashionMNIST", "KMNIST", "MNIST", "QMNIST")
_BY_SPLIT = {
    "DTD": "val",
    "FGVCAircraft": "val",
    "Flowers102": "val",
    "Food101": "test",
    "GTSRB": "test",
    "OxfordIIITPet": "test",
    "PCAM": "val",
    "RenderedSST2": "val",
    "STL10": "test",
    "SVHN": "test",
}


def write_set(name: str) -> Path:
    """The folder with train/ and val/ of a set as PNG files; created at the first call, downloaded if necessary.

    Downloads and folders are below $SNELLEN_DATA, or ~/.cache/snellen. Raises UserError for an unknown set and if it
    can be neither found nor downloaded.
    """
    known = {known_name.lower(): known_name for known_name in (*_BY_TRAIN_FLAG, *_BY_SPLIT)}
    if name.lower() not in known:
        raise UserError(f"{PREFIX}{name}: no such set. Known: {', '.join(sorted(known.values()))}.")
    name = known[name.lower()]
    home = Path(os.environ.get("SNELLEN_DATA", Path.home() / ".cache" / "snellen"))
    folder = home / name
    if (folder / "complete").is_file():
        return folder
    with _exclusive_writer(home, name) as is_exclusive:
        if (folder / "complete").is_file():  # written by the process that held the lock
            return folder
        _write(name, folder, home / "downloads", is_exclusive)
    return folder


def _write(name: str, folder: Path, downloads: Path, is_exclusive: bool) -> None:
    """Writes the set to a temporary folder, then renames it. is_exclusive: no other process is writing it."""
    if is_exclusive:
        for leftover in (folder, *folder.parent.glob(f".{name}.*.partial")):  # from calls that were killed
            shutil.rmtree(leftover, ignore_errors=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{name}.", suffix=".partial", dir=folder.parent))
    try:
        partial.chmod(folder.parent.stat().st_mode & 0o777)  # as any folder there: mkdtemp's are private to one user
        for side in ("train", "val"):
            _write_side(_open(name, side, downloads), partial / side)
        write_text(partial / "complete", "")
        try:
            partial.rename(folder)
        except OSError as error:
            if not (folder / "complete").is_file():  # else another process was first
                raise UserError(f"{folder}: cannot be written ({error.strerror}).") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def _exclusive_writer(home: Path, name: str) -> Iterator[bool]:
    """Waits until no other process writes this set. Yields whether that is certain: some file systems have no locks."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        file = (home / f".{name}.lock").open("w")
    except OSError as error:
        raise UserError(
            f"{home}: cannot be written ({error.strerror}). Choose another folder with SNELLEN_DATA."
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another process is writing {PREFIX}{name} to {home}; waiting for it", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            yield False
            return
        yield True


def _open(name: str, side: str, root: Path) -> Any:
    from torchvision import datasets

    kind = getattr(datasets, name)
    choice: dict[str, Any]
    if name in _BY_TRAIN_FLAG:
        choice = {"train": side == "train"}
    else:
        split = "train" if side == "train" else _BY_SPLIT[name]
        choice = {"split": "trainval" if name == "OxfordIIITPet" and side == "train" else split}
    root.mkdir(parents=True, exist_ok=True)
    try:
        try:
            return kind(root, download=False, **choice)
        except RuntimeError:  # not there yet
            return kind(root, download=True, **choice)
    except Exception as error:  # urllib's, torchvision's and the archive readers' errors
        reason = first_line(error)
        raise UserError(
            f"{PREFIX}{name}: not in {root}, and the download failed ({reason}). "
            "Check the connection, or put torchvision's files for this set there."
        ) from error


def _write_side(images: Any, folder: Path) -> None:
    names = getattr(images, "classes", None)
    for number in range(len(images)):
        image, label = images[number]
        name = str(label) if names is None else re.sub(r"[/\\\0]", "-", str(names[int(label)]))
        path = folder / name / f"{number:06d}.png"
        with replacing(path) as temporary:
            image.convert("RGB").save(temporary, format="PNG")
