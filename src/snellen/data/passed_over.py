"""A note on files that are not readable images."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from snellen.data.listing import IMAGE_SUFFIXES, TABLE_SUFFIXES
from snellen.data.walk import files_below
from snellen.words import counted

_MOST_SUFFIXES = 5
_HEIF = frozenset({".heic", ".heif"})


def passed_over_note(folder: Path, names: Iterable[str] | None = None) -> str | None:
    """A line with the suffixes of the files that are not images, and their numbers; None if there are none.

    names: the files; None: all below the folder. Tables, which contain labels, are not counted.
    """
    names = files_below(folder) if names is None else names
    suffixes = Counter(os.path.splitext(name)[1].lower().removesuffix(".") for name in names)
    ignored = [entry for entry in suffixes.items() if entry[0] not in IMAGE_SUFFIXES | TABLE_SUFFIXES]
    ignored.sort(key=lambda entry: (-entry[1], entry[0] or "~"))
    if not ignored:
        return None
    listed = [f"{count:,} {suffix or 'without a suffix'}" for suffix, count in ignored[:_MOST_SUFFIXES]]
    if more := sum(count for _, count in ignored[_MOST_SUFFIXES:]):
        listed.append(f"{more:,} others")
    total = sum(count for _, count in ignored)
    skipped = "is not an image was" if total == 1 else "are not images were"
    heif = any(suffix in _HEIF for suffix, _ in ignored)
    hint = "; pip install 'snellen[heif]' reads .heic and .heif" if heif else ""
    return f"{counted(total, 'file')} in {folder.name}/ that {skipped} skipped ({', '.join(listed)}{hint})"
