"""Labels that are probably wrong: as text, as a table, and as pictures on the page of a check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from snellen.insight.proportions import percents
from snellen.insight.wrong_labels import WrongShare
from snellen.reporting.pictures import thumbnail
from snellen.words import counted

_LISTED = 10  # in a text
_MOST = 300  # with pictures
_SIDE = 150  # px
_COLUMNS = ("path", "class", "split", "likely", "probability", "likely_probability", "suspect")
ASSUMPTION = "if wrong labels are as frequent among hard images as among easy ones; if among hard ones, more are wrong"


@dataclass(frozen=True)
class Labelled:
    """An image whose label was checked. path: as in the set. given, likely: its class, and the likeliest other one.

    probability, likely_probability: of these, by a probe that has not learnt from this image.
    """

    path: str
    part: str
    given: str
    likely: str
    probability: float
    likely_probability: float


@dataclass(frozen=True)
class Suspects:
    """Checked labels. images: all that were checked, the most suspect first. count: how many of these are suspects.

    source: of the features, in words. share: of wrong labels. agreeing: images whose label is the likeliest class.
    notes: for people. unchecked: (path, part, class) of the other images. groups: of images by path, if they have any.
    """

    images: tuple[Labelled, ...]
    count: int
    source: str
    share: WrongShare
    agreeing: int
    notes: tuple[str, ...]
    unchecked: tuple[tuple[str, str, str], ...]
    groups: Mapping[str, str]

    @property
    def suspects(self) -> tuple[Labelled, ...]:
        """The images whose labels are probably wrong."""
        return self.images[: self.count]

    @property
    def sentence(self) -> str:
        """How many labels are wrong, in words."""
        total, share = len(self.images), self.share
        agreement = f"{self.agreeing:,} of {counted(total, 'label')} are the likeliest class by {self.source}"
        if share.is_open:
            return f"{agreement}: too few to tell how many of the others are wrong"
        estimate = f"about {share.share:.1%} of the labels are wrong (95% interval {percents(share.interval)}%)"
        return f"{agreement}; {estimate}, {ASSUMPTION}"

    def render(self) -> RenderableType:
        """As text, with the most suspect images."""
        lines = [f"labels: {escape(self.sentence)}", *(f"[yellow]note:[/] {escape(note)}" for note in self.notes)]
        if not self.suspects:
            return Group(*lines, "no label is suspect")
        table = Table(box=None, pad_edge=False)
        for column, justify in (("suspect label of", "left"), ("given", "left"), ("", "right"), ("likely", "left")):
            table.add_column(column, justify="right" if justify == "right" else "left", overflow="fold")
        table.add_column("", justify="right")
        for image in self.suspects[:_LISTED]:
            cells = image.path, image.given, f"{image.probability:.1%}", image.likely, f"{image.likely_probability:.1%}"
            table.add_row(*map(escape, cells))
        more = self.count - _LISTED
        rest = [f"… and {more:,} more: --report shows them, --labels writes a table of all labels"] if more > 0 else []
        return Group(*lines, table, *rest)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        interval = self.share.interval
        return {
            "features": self.source,
            "checked": len(self.images),
            "agreeing": self.agreeing,
            "wrong_share": None if self.share.is_open else self.share.share,
            "wrong_share_interval": [interval.low, interval.high],
            "notes": list(self.notes),
            "suspects": [asdict(image) for image in self.suspects],
            "unchecked": [path for path, _, _ in self.unchecked],
        }

    def table(self, root: Path) -> list[tuple[object, ...]]:
        """Rows of a CSV file, the names of its columns first; `snellen train` takes it. root: of the paths."""
        columns = (*_COLUMNS, "group") if self.groups else _COLUMNS
        rows: list[tuple[object, ...]] = [columns]
        for number, image in enumerate(self.images):
            figures = f"{image.probability:.6f}", f"{image.likely_probability:.6f}"
            is_suspect = "yes" if number < self.count else "no"
            rows.append(self._row(root, image.path, image.given, image.part, image.likely, *figures, is_suspect))
        rows += [self._row(root, path, given, part, "", "", "", "") for path, part, given in self.unchecked]
        return rows

    def _row(self, root: Path, path: str, given: str, part: str, *rest: object) -> tuple[object, ...]:
        split = "val" if part == "validation" else part
        group = (self.groups[path],) if self.groups else ()
        return ((root.resolve() / path).as_posix(), given, split, *rest, *group)


@dataclass(frozen=True)
class SuspectSection:
    """The part of the page of a check on labels. pictures: of the first suspects; None for what cannot be read."""

    sentence: str
    notes: Sequence[str]
    count: int
    pictures: Sequence[tuple[Labelled, str | None]]


def suspect_section(root: Path, suspects: Suspects, bits: int | None) -> SuspectSection:
    """The section. root: of the paths. bits: as in `decode`."""
    pictures = [(image, thumbnail(root / image.path, bits, _SIDE)) for image in suspects.suspects[:_MOST]]
    return SuspectSection(suspects.sentence, suspects.notes, suspects.count, pictures)
