"""torchvision's built-in classification sets, written out as ordinary class folders."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

from snellen.errors import UserError
from snellen.files import replacing, write_text

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
    """The folder, with train/ and val/, that holds a set as PNG files; made at the first call, downloaded if need be.

    Downloads and folders lie below $SNELLEN_DATA, or ~/.cache/snellen. Raises UserError for an unknown set and when it
    can be neither found nor downloaded.
    """
    known = {other.lower(): other for other in (*_BY_TRAIN_FLAG, *_BY_SPLIT)}
    if name.lower() not in known:
        raise UserError(f"{PREFIX}{name}: no such set. Known: {', '.join(sorted(known.values()))}.")
    name = known[name.lower()]
    home = Path(os.environ.get("SNELLEN_DATA", Path.home() / ".cache" / "snellen"))
    folder = home / name
    if (folder / "complete").is_file():
        return folder
    shutil.rmtree(folder, ignore_errors=True)  # what an interrupted first call left
    for side in ("train", "val"):
        _write_side(_open(name, side, home / "downloads"), folder / side)
    write_text(folder / "complete", "")
    return folder


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
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
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
