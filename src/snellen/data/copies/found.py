"""Copies among the parts of a set of images, and which images of one part are copies of those of an earlier one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snellen.data.copies import kept
from snellen.data.copies.search import near_pairs
from snellen.data.copies.small import side_for, small_pictures
from snellen.data.fingerprint import content_hashes
from snellen.data.unreadable import UnreadableImageError
from snellen.words import counted, shortened

_SIDE = 256  # of decoded images
_LISTED = 6  # pairs in a text
Parts = Mapping[str, Sequence[str]]
"""The contents of the images of each part, as SHA-256; an earlier part is what a later one must not contain."""


@dataclass(frozen=True)
class Copy:
    """Two images that are copies of each other: their paths, as in the set, and parts.

    is_exact: the files are equal. words: what was done to one of them, seen from the other. distance: 0 for equal
    files; see copies.align. expected: how many different images would be as near to one of them by chance.
    """

    first: str
    second: str
    parts: tuple[str, str]
    is_exact: bool
    words: str
    distance: float
    expected: float

    @property
    def is_leak(self) -> bool:
        """Whether they are in different parts."""
        return self.parts[0] != self.parts[1]


@dataclass(frozen=True)
class Copies:
    """pairs: leaks first, then equal files, then the surest. leaked: images of each part but the first that are copies
    of images of an earlier part, as rows."""

    pairs: tuple[Copy, ...]
    leaked: dict[str, list[int]]

    def lines(self) -> list[str]:
        """As lines of text."""
        exact = sum(pair.is_exact for pair in self.pairs)
        across = sum(pair.is_leak for pair in self.pairs)
        near = len(self.pairs) - exact
        text = f"copies: {counted(exact, 'pair')} of equal files, {counted(near, 'pair')} of nearly the same image"
        pairs = [f"{pair.first} and {pair.second}: {pair.words}" for pair in self.pairs]
        return [*self.leaks, text + (f"; {across:,} across the parts" if across else ""), *shortened(pairs, _LISTED)]

    @property
    def leaks(self) -> list[str]:
        """What spoils the scores of each part, in words."""
        return [leak_line(part, len(rows)) for part, rows in self.leaked.items() if rows]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"pairs": [asdict(pair) for pair in self.pairs], "leaked": self.leaked}


def leak_line(part: str, count: int) -> str:
    """How many images of a part are copies of images of an earlier one, in words."""
    name = {"test": "training or validation"}.get(part, "training")
    which = counted(count, f"{part} image is a copy", f"{part} images are copies")
    return f"{which} of {name} images, which inflates the scores"


def copies_among(
    files: Mapping[str, Sequence[Path]],
    names: Mapping[str, Sequence[str]],
    bits: int | None,
    progress: Callable[[str], None],
) -> Copies:
    """Copies among the images of all parts. Near ones are looked for once per set of contents, and kept.

    files, names: of each part, the first being the one that trains: absolute paths, and how images are called. bits: as
    in `decode`. progress: is told what is being done. Images that cannot be decoded are compared as files only.
    """
    contents = {part: content_hashes(paths) for part, paths in files.items()}
    digests = [digest for of_part in contents.values() for digest in of_part]
    near = kept.of_set(digests)
    if near is None:
        paths = dict(zip(digests, (path for of_part in files.values() for path in of_part), strict=True))
        near = _near(paths, bits, progress)
        kept.keep(digests, near)
    return Copies(tuple(_pairs(contents, names, near)), leaked_rows(contents, near))


def known_leaks(files: Mapping[str, Sequence[Path]]) -> tuple[dict[str, list[int]], list[str]]:
    """As `leaked_rows`, by equal files and by the near copies that a check has found before; compares no images.

    With notes on those that are only near copies.
    """
    contents = {part: content_hashes(paths) for part, paths in files.items()}
    digests = [digest for of_part in contents.values() for digest in of_part]
    leaked, exact = leaked_rows(contents, kept.of_any(digests)), leaked_rows(contents, [])
    notes = [leak_line(part, len(rows)) for part, rows in leaked.items() if len(rows) > len(exact[part])]
    return leaked, [f"{note}, as snellen check has found; the report gives the score without them" for note in notes]


def leaked_rows(contents: Parts, near: Sequence[kept.KeptPair]) -> dict[str, list[int]]:
    """The rows of those images of each part but the first that are copies of images of an earlier part.

    near: pairs of contents that are near copies; files of equal content are found in any case.
    """
    partners = _partners(near)
    earlier, result = set[str](), dict[str, list[int]]()
    for number, (part, digests) in enumerate(contents.items()):
        if number:
            result[part] = [
                row for row, digest in enumerate(digests) if digest in earlier or partners[digest] & earlier
            ]
        earlier |= set(digests)
    return result


def _partners(near: Sequence[kept.KeptPair]) -> dict[str, set[str]]:
    partners: dict[str, set[str]] = defaultdict(set)
    for pair in near:
        partners[pair.first].add(pair.second)
        partners[pair.second].add(pair.first)
    return partners


def _near(paths: Mapping[str, Path], bits: int | None, progress: Callable[[str], None]) -> list[kept.KeptPair]:
    """Near copies among files with different contents."""
    from snellen.data.decode import decode, kind_and_size

    def shorter(path: Path) -> int | None:
        try:
            return min(kind_and_size(path)[1:])
        except UnreadableImageError:
            return None

    some = [size for path in list(paths.values())[:: max(1, len(paths) // 50)] if (size := shorter(path)) is not None]
    side = side_for(len(paths), median(some) if some else 0)

    def read(path: Path) -> NDArray[np.uint8] | None:
        try:
            return small_pictures(decode(path, _SIDE, bits=bits).permute(1, 2, 0).numpy(), side)
        except UnreadableImageError:
            return None  # reported when it is decoded

    progress("decoding images")
    with ThreadPoolExecutor() as pool:
        read_pictures = zip(paths, pool.map(read, paths.values()), strict=True)
        pictures = {digest: picture for digest, picture in read_pictures if picture is not None}
    if not pictures:
        return []
    digests = list(pictures)
    return [
        kept.KeptPair(digests[pair.first], digests[pair.second], pair.distance, pair.expected, pair.words)
        for pair in near_pairs(np.stack(list(pictures.values())), progress)
    ]


@dataclass(frozen=True)
class _Image:
    name: str
    part: str


def _pairs(contents: Parts, names: Mapping[str, Sequence[str]], near: Sequence[kept.KeptPair]) -> list[Copy]:
    """All pairs: each file with the first of equal content, and two files for each pair of contents."""
    images: dict[str, list[_Image]] = defaultdict(list)
    for part, digests in contents.items():
        for name, digest in zip(names[part], digests, strict=True):
            images[digest].append(_Image(name, part))
    pairs = [
        Copy(first.name, other.name, (first.part, other.part), True, "equal files", 0.0, 0.0)
        for first, *others in images.values()
        for other in others
    ]
    order = list(contents)
    for pair in near:
        first, second = _across(images[pair.first], images[pair.second])
        if order.index(first.part) > order.index(second.part):
            first, second = second, first
        parts = first.part, second.part
        pairs.append(Copy(first.name, second.name, parts, False, pair.words, pair.distance, pair.expected))
    return sorted(pairs, key=lambda pair: (not pair.is_leak, not pair.is_exact, pair.expected))


def _across(first: Sequence[_Image], second: Sequence[_Image]) -> tuple[_Image, _Image]:
    """One of each, of different parts if possible."""
    return next(((a, b) for a in first for b in second if a.part != b.part), (first[0], second[0]))
