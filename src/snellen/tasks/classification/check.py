"""A check of a source of labelled images, before any training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table

from snellen.data.copies.split import split_without_leaks
from snellen.data.depth import settle_bits
from snellen.data.disk_cache import DiskCache
from snellen.data.folders import UnlabelledError
from snellen.data.given import name_of
from snellen.data.listing import ImageSet, Source
from snellen.data.shards.sources import data_path
from snellen.data.sources import read_images
from snellen.errors import UserError
from snellen.recipe.load import load_as
from snellen.reporting.suspects import Suspects
from snellen.tasks.checking import FileCheck, check_files, copy_lines, find_copies, set_numbers
from snellen.tasks.classification.features import open_features
from snellen.tasks.classification.recipe import Recipe
from snellen.tasks.classification.suspects import find_suspects

FIELDS: frozenset[str] = frozenset()


@dataclass(frozen=True, repr=False)
class Check(FileCheck[ImageSet]):
    """What a source of labelled images holds. validation_share: as in DataSpec. suspects: None if not looked for."""

    validation_share: float
    suspects: Suspects | None

    def render(self) -> RenderableType:
        """As text."""
        images = self.images
        table = Table(box=None, pad_edge=False)
        parts = images.parts
        for column in ("class", "training", *list(parts)[1:]):
            table.add_column(column, justify="left" if column == "class" else "right")
        counts = [Counter(sample.label for sample in samples) for samples in parts.values()]
        for label, name in enumerate(images.classes):
            table.add_row(escape(name), *(f"{count[label]:,}" for count in counts))
        table.add_row("[bold]all[/]", *(f"[bold]{len(samples):,}[/]" for samples in parts.values()))
        sizes, *unreadable = self.lines()
        lines = [
            escape(f"{images.root}: {images.layout}; {images.split}"),
            sizes,
            *(f"[yellow]note:[/] {escape(note)}" for note in (*images.notes, *self.notes)),
            *unreadable,
            *copy_lines(self.copies),
        ]
        return Group(table, "", *lines, *([] if self.suspects is None else [self.suspects.render()]))

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        images = self.images
        counts = {part: Counter(sample.label for sample in samples) for part, samples in images.parts.items()}
        return {
            **set_numbers(images),
            "classes": {
                name: {part: of_part[label] for part, of_part in counts.items()}
                for label, name in enumerate(images.classes)
            },
            "notes": [*images.notes, *self.notes],
            **self.numbers(),
            "copies": self.copies.as_dict(),
            **({} if self.suspects is None else {"labels": self.suspects.as_dict()}),
        }

    def split_table(self) -> list[tuple[str, str, str, str]]:
        """(path, class, split, group) of each image, in a split that no copies straddle; a group holds its copies."""
        images = self.images
        samples = [sample for of_part in images.parts.values() for sample in of_part]
        names, labels = [sample.path for sample in samples], [images.classes[sample.label] for sample in samples]
        pairs = [(pair.first, pair.second) for pair in self.copies.pairs]
        groups = [sample.group for sample in samples]
        clusters, parts = split_without_leaks(names, labels, groups, pairs, self.validation_share)
        paths = [file.as_posix() for file in images.files(samples)]
        return list(zip(paths, labels, parts, clusters, strict=True))


def check(
    data: Source,
    overrides: Mapping[str, Any],
    out: Path | None,
    overlays: int,
    console: Console,
    why: str = "",
    features: str | Path | None = None,
) -> Check:
    """Decodes every image. Raises UserError where training would, and UnlabelledError for images without labels."""
    if out is not None:
        raise UserError(f"{name_of(data)}: no images with masks, so there are no overlays to draw. Omit --out.")
    spec = load_as(Recipe, {}, overrides).data
    path = data_path(data) if isinstance(data, str | Path) else None
    if path is not None and path.suffix.lower() == ".txt" and path.is_file():
        raise UnlabelledError("a list of images names no classes")
    images = read_images(data, spec, compare=True)
    source = None if features is None else open_features(features, overrides)
    train, scored, test = (
        [images.root / sample.path for sample in side] for side in (images.train, images.validation, images.test)
    )
    files, (bits, notes) = check_files([*train, *scored, *test], console), settle_bits(spec.bits, train, scored)
    copies = find_copies(images, bits, console)
    suspects = None
    if source is not None:
        suspects = find_suspects(images, copies, source, bits, DiskCache(spec.disk_cache_mib), console)
    return Check(
        formats=files.formats,
        sides=files.sides,
        unreadable=files.unreadable,
        images=images,
        notes=notes,
        bits=bits,
        copies=copies,
        validation_share=spec.validation_share,
        suspects=suspects,
    )
