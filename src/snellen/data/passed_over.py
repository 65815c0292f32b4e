"""What a person should know of files that are no images which can be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from snellen.data.listing import IMAGE_SUFFIXES, TABLE_SUFFIXES
from snellen.data.walk import files_below
from snellen.words import counted

_MOST_SUFFIXES = 5
_HEIF = frozenset({".heic", ".heif"})


def passed_over_note(folder: Path, names: Iterable[str] | None = None) -> str | None:
    """A line with the suffixes of the files that are no images, and how many of each; None where there are none.

    names: the files; None: all below the folder. Tables, which hold labels, do not count.
    """
    names = files_below(folder) if names is None else names
    suffixes = Counter(PurePosixPath(name).suffix.lower() for name in names)
    others = [entry for entry in suffixes.items() if entry[0] not in IMAGE_SUFFIXES | TABLE_SUFFIXES]
    others.sort(key=lambda entry: (-entry[1], entry[0] or "~"))
    if not others:
        return None
    listed = [f"{count:,} {suffix or 'without a suffix'}" for suffix, count in others[:_MOST_SUFFIXES]]
    if more := sum(count for _, count in others[_MOST_SUFFIXES:]):
        listed.append(f"{more:,} others")
    total = sum(count for _, count in others)
    were = "is no image was" if total == 1 else "are no images were"
    heif = any(suffix in _HEIF for suffix, _ in others)
    hint = "; pip install 'snellen[heif]' reads .heic and .heif" if heif else ""
    return f"{counted(total, 'file')} in {folder.name}/ that {were} passed over ({', '.join(listed)}{hint})"
