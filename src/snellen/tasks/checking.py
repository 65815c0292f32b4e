"""Checks of image files before any training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Generic, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import track

from snellen.data.copies.found import Copies, copies_among
from snellen.data.decode import UnreadableImageError, decode, kind_and_size
from snellen.data.given import name_of
from snellen.data.listing import Source, SplitSet, Unreadable
from snellen.errors import UserError
from snellen.words import counted

_MOST_LISTED = 20
AnySet = TypeVar("AnySet")


@dataclass(frozen=True)
class Files:
    """formats: number of files of each kind ("JPEG RGB"). sides: (smallest, median, largest) of the shorter sides in
    pixels. unreadable: files that cannot be decoded."""

    formats: dict[str, int]
    sides: tuple[int, float, int]
    unreadable: list[Unreadable]

    def lines(self) -> list[str]:
        """As lines of text."""
        smallest, middle, largest = self.sides
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in self.formats.items())
        return [
            f"shorter side: {smallest} to {largest} px, median {middle:g}; {kinds}",
            *listed_files("unreadable", self.unreadable, "data.unreadable=skip"),
        ]

    def numbers(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "formats": self.formats,
            "shorter_side": dict(zip(("smallest", "median", "largest"), self.sides, strict=True)),
            "unreadable": [asdict(entry) for entry in self.unreadable],
        }


@dataclass(frozen=True, repr=False)
class FileCheck(Files, Generic[AnySet]):
    """The files of a source.

    images: the index. notes: on 16-bit values. bits: their depth. copies: among the images.
    """

    images: AnySet
    notes: list[str]
    bits: int | None
    copies: Copies

    def __repr__(self) -> str:
        return f"{type(self).__name__} of {self.images!r}; {counted(len(self.unreadable), 'unreadable file')}"

    def mask_section(self) -> None:
        """No masks, no section."""


def set_numbers(images: SplitSet[Any, Any]) -> dict[str, Any]:
    """What every set of images has, for JSON."""
    return {
        "root": str(images.root),
        "layout": images.layout,
        "split": images.split,
        "images": {part: len(samples) for part, samples in images.parts.items()},
    }


def find_copies(images: SplitSet[Any, Any], bits: int | None, console: Console) -> Copies:
    """Copies among the images of all parts. bits: as in `decode`."""
    files = {part: images.files(samples) for part, samples in images.parts.items()}
    names = {part: [sample.path for sample in samples] for part, samples in images.parts.items()}
    return copies_between(files, names, bits, console)


def copies_between(
    files: Mapping[str, Sequence[Path]], names: Mapping[str, Sequence[str]], bits: int | None, console: Console
) -> Copies:
    """As `data.copies.found.copies_among`, with a status line."""
    with console.status("looking for copies") as status:
        return copies_among(files, names, bits, lambda step: status.update(f"looking for copies: {step}"))


def refuse_features(features: str | Path | None, data: Source) -> None:
    """Raises UserError if labels are to be checked where images have none of their own."""
    if features is not None:
        raise UserError(f"{name_of(data)}: only images with a class each have labels that features can check. Omit it.")


def copy_lines(copies: Copies) -> list[str]:
    """Lines on copies: what spoils a score first, then how many pairs there are, and a few of them."""
    leaks, lines = len(copies.leaks), [escape(line) for line in copies.lines()]
    return [*(f"[red]leak:[/] {line}" for line in lines[:leaks]), *lines[leaks:]]


def check_files(paths: Sequence[Path], console: Console) -> Files:
    """Decodes every file."""
    formats: Counter[str] = Counter()
    sides: list[int] = []
    unreadable: list[Unreadable] = []
    with ThreadPoolExecutor() as pool:
        results = track(pool.map(_check_file, paths), "decoding", len(paths), console=console, transient=True)
        for path, (kind, side, reason) in zip(paths, results, strict=True):
            if reason is not None:
                unreadable.append(Unreadable(str(path), reason))
                continue
            formats[kind] += 1
            sides.append(side)
    side_range = (min(sides), median(sides), max(sides)) if sides else (0, 0.0, 0)
    return Files(dict(formats.most_common()), side_range, unreadable)


def listed_files(what: str, entries: Sequence[Unreadable], remedy: str) -> list[str]:
    """Lines on files that cannot be used, the first 20 by name, and the setting that skips them."""
    lines = [f"[red]{what}:[/] {escape(entry.path)}: {escape(entry.reason)}" for entry in entries[:_MOST_LISTED]]
    if len(entries) > _MOST_LISTED:
        lines.append(f"… and {counted(len(entries) - _MOST_LISTED, f'more {what} file')}")
    if entries:
        lines.append(f"To train without {what} files: {remedy}")
    return lines


def _check_file(path: Path) -> tuple[str, int, str | None]:
    """(kind, shorter side, why it cannot be decoded or None) of one file."""
    try:
        decode(path, 256)
        kind, width, height = kind_and_size(path)
        return kind, min(width, height), None
    except UnreadableImageError as error:
        return "", 0, error.reason
