"""What a source of images without labels holds, before any pretraining."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.markup import escape

from snellen.data.listing import Unreadable
from snellen.data.unlabelled import UnlabelledSet
from snellen.words import counted


@dataclass(frozen=True, repr=False)
class UnlabelledCheck:
    """images: the index. formats, sides, unreadable, notes: as in Check. reason: why they are taken for unlabelled."""

    images: UnlabelledSet
    formats: dict[str, int]
    sides: tuple[int, float, int]
    unreadable: list[Unreadable]
    reason: str
    notes: list[str]

    def __repr__(self) -> str:
        return f"UnlabelledCheck of {self.images!r}; {counted(len(self.unreadable), 'unreadable file')}"


def render_unlabelled(check: UnlabelledCheck, listed: list[str]) -> RenderableType:
    """A check as text for people. listed: lines on formats and unreadable files, as for other images."""
    images = check.images
    return Group(
        f"{escape(str(images.root))}: {counted(len(images.paths), 'image')} without labels ({escape(images.layout)})",
        *listed,
        *(f"[yellow]note:[/] {escape(note)}" for note in (*images.notes, *check.notes)),
        f"[yellow]note:[/] {escape(check.reason)}",
        "`snellen pretrain` learns a backbone from all of them; `snellen train` on a few labelled images then starts "
        "from it by model.weights=RUN.",
    )
