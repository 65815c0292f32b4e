"""Files below a folder, through links too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def files_below(root: Path) -> Iterator[str]:
    """Files at any depth, in no order: paths relative to `root` with forward slashes.

    Links to files and folders are followed, except to a folder that the link lies in, which would never end. Hidden
    files and folders and __MACOSX are passed over, as are folders that cannot be read.
    """
    above = frozenset(os.path.realpath(parent) for parent in root.absolute().parents)
    yield from _files_below(str(root), "", above)


def _files_below(folder: str, prefix: str, above: frozenset[str]) -> Iterator[str]:
    """above: the folders on the way here, without links."""
    try:
        with os.scandir(folder) as scanned:
            entries = list(scanned)
    except OSError:
        return
    here = above | {os.path.realpath(folder)}
    for entry in entries:
        if entry.name.startswith(".") or entry.name == "__MACOSX":
            continue
        try:
            is_folder, is_file = entry.is_dir(), entry.is_file()
        except OSError:  # a link that leads to itself
            continue
        if is_folder and not (entry.is_symlink() and _contains(entry.path, folder, here)):
            yield from _files_below(entry.path, f"{prefix}{entry.name}/", here)
        elif is_file:
            yield prefix + entry.name


def _contains(link: str, folder: str, above: frozenset[str]) -> bool:
    """Whether a link leads to a folder that it lies in: on the way here, or where its own folder really is."""
    target = os.path.realpath(link)
    return target in above or os.path.commonpath([target, os.path.realpath(folder)]) == target
