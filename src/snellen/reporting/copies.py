"""The page of a check: which images are copies of each other, side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from snellen.data.copies.found import Copies, Copy
from snellen.reporting.misfits import MisfitSection
from snellen.reporting.pictures import jpeg, photograph
from snellen.reporting.suspects import Suspects, SuspectSection, suspect_section
from snellen.reporting.template import Page, variables_of

_MOST = 300  # pairs with pictures
_SIDE = 150  # px of a picture's shorter side


@dataclass(frozen=True)
class PairOfPictures:
    """A pair, with a picture of each of its images; None for one that cannot be read."""

    pair: Copy
    pictures: tuple[str | None, str | None]


@dataclass(frozen=True)
class CheckPage:
    """What check.html.j2 uses. leaks: what spoils scores, in words. kinds: the number of pairs by what was done."""

    title: str
    text: str
    leaks: list[str]
    notes: list[str]
    exact: int
    near: int
    kinds: dict[str, int]
    across: list[PairOfPictures]
    within: list[PairOfPictures]
    pairs: int
    misfits: MisfitSection | None
    labels: SuspectSection | None


def check_page(
    root: Path,
    text: str,
    copies: Copies,
    bits: int | None,
    numbers: Mapping[str, Any],
    misfits: MisfitSection | None = None,
    suspects: Suspects | None = None,
) -> Page:
    """The page of a checked set of images. root: of their paths. text: what the set is. numbers: all, for JSON."""
    pictured = [
        PairOfPictures(pair, (_picture(root / pair.first, bits), _picture(root / pair.second, bits)))
        for pair in copies.pairs[:_MOST]
    ]
    exact = sum(pair.is_exact for pair in copies.pairs)
    content = CheckPage(
        title=root.resolve().name,
        text=text,
        leaks=copies.leaks,
        notes=list(numbers.get("notes", ())),
        exact=exact,
        near=len(copies.pairs) - exact,
        kinds=dict(Counter(pair.words for pair in copies.pairs).most_common()),
        across=[entry for entry in pictured if entry.pair.is_leak],
        within=[entry for entry in pictured if not entry.pair.is_leak],
        pairs=len(copies.pairs),
        misfits=misfits,
        labels=None if suspects is None else suspect_section(root, suspects, bits),
    )
    rows = [asdict(pair) | dict(zip(("first_part", "second_part"), pair.parts, strict=True)) for pair in copies.pairs]
    return Page(
        template="check.html.j2",
        styles=("report.css", "check.css"),
        scripts=("report.js",),
        variables=variables_of(content),
        numbers=dict(numbers),
        rows=[{key: value for key, value in row.items() if key != "parts"} for row in rows],
    )


def _picture(path: Path, bits: int | None) -> str | None:
    image = photograph(path, _SIDE, bits)
    return None if image is None else jpeg(image)
