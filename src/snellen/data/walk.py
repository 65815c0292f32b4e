"""Files below a folder, following links."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from snellen.data.shards.path import ShardPath


def files_below(root: Path) -> Iterator[str]:
    """Files at any depth, in no order: paths relative to `root` with forward slashes.

    Links to files and folders are followed, except to a folder that contains the link, which would never end. Hidden
    files and folders and __MACOSX are skipped, as are unreadable folders.
    """
    if isinstance(root, ShardPath) and root.entries() is not None:
        yield from _members_below(root, "")
        return
    above = frozenset(os.path.realpath(parent) for parent in root.absolute().parents)
    yield from _files_below(str(root), "", above)


def _files_below(folder: str, prefix: str, above: frozenset[str]) -> Iterator[str]:
    """above: the real paths of the folders on the way here."""
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
        except OSError:  # a link to itself
            continue
        if is_folder and not (entry.is_symlink() and _contains(entry.path, folder, here)):
            yield from _files_below(entry.path, f"{prefix}{entry.name}/", here)
        elif is_file:
            yield prefix + entry.name


def _members_below(folder: ShardPath, prefix: str) -> Iterator[str]:
    """The same for a folder in shards, which has no links."""
    for name in folder.entries() or ():
        if name.startswith(".") or name == "__MACOSX/":
            continue
        if name.endswith("/"):
            yield from _members_below(folder / name, prefix + name)
        else:
            yield prefix + name


def _contains(link: str, folder: str, above: frozenset[str]) -> bool:
    """Whether a link leads to a folder that contains it, along the way here or along the real path of its folder."""
    target = os.path.realpath(link)
    return target in above or os.path.commonpath([target, os.path.realpath(folder)]) == target
