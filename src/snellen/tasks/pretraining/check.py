"""A check of a source of images without labels, before any pretraining."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from rich.console import Console, Group, RenderableType
from rich.markup import escape

from snellen.data.depth import settle_bits
from snellen.data.given import check_path
from snellen.data.listing import Source
from snellen.data.unlabelled import UnlabelledSet, read_unlabelled
from snellen.errors import UserError
from snellen.recipe.load import load_as
from snellen.tasks.checking import FileCheck, check_files, copies_between, copy_lines, refuse_features
from snellen.tasks.pretraining.recipe import PretrainingRecipe
from snellen.words import counted

FIELDS: frozenset[str] = frozenset()


@dataclass(frozen=True, repr=False)
class UnlabelledCheck(FileCheck[UnlabelledSet]):
    """What a source of images without labels holds. reason: why they count as unlabelled."""

    reason: str
    suspects: ClassVar[None] = None

    def render(self) -> RenderableType:
        """As text."""
        images = self.images
        count = counted(len(images.paths), "image")
        return Group(
            f"{escape(str(images.root))}: {count} without labels ({escape(images.layout)})",
            *self.lines(),
            *(f"[yellow]note:[/] {escape(note)}" for note in (*images.notes, *self.notes, self.reason) if note),
            *copy_lines(self.copies),
            "`snellen pretrain` learns a backbone from all of them; `snellen train` on a few labelled images then "
            "starts from it by model.weights=RUN.",
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "root": str(self.images.root),
            "layout": self.images.layout,
            "images": {"train": len(self.images.paths)},
            "notes": [note for note in (*self.images.notes, *self.notes, self.reason) if note],
            **self.numbers(),
            "copies": self.copies.as_dict(),
        }

    def split_table(self) -> NoReturn:
        """Not possible."""
        raise UserError(f"{self.images.root}: images without labels have no split. Omit --split.")


def check(
    data: Source,
    overrides: Mapping[str, Any],
    out: Path | None,
    overlays: int,
    console: Console,
    why: str = "",
    features: str | Path | None = None,
) -> UnlabelledCheck:
    """Decodes every image. why: for counting the images as unlabelled. Raises UserError where pretraining would."""
    refuse_features(features, data)
    images = read_unlabelled(check_path(data), compare=True)
    reading = {key: value for key, value in overrides.items() if key == "data.bits"}
    spec = load_as(PretrainingRecipe, {"task": "pretraining"}, reading).data
    paths = [images.root / path for path in images.paths]
    files, (bits, notes) = check_files(paths, console), settle_bits(spec.bits, paths)
    copies = copies_between({"train": images.training_files}, {"train": images.paths}, bits, console)
    return UnlabelledCheck(files.formats, files.sides, files.unreadable, images, notes, bits, copies, why)
