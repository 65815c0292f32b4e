"""What a source of images holds, before any training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from snellen.commands.check_masks import MaskCheck, check_masks, render_masks
from snellen.data.decode import UnreadableImageError, decode, kind_and_size
from snellen.data.masks.sources import is_masked
from snellen.data.sources import ImageSet, Unreadable, read_images
from snellen.errors import UserError
from snellen.recipe.load import load_for
from snellen.recipe.schema import Recipe, SegmentationRecipe

_MOST_LISTED = 20
_MASKED = frozenset({"data.image_pattern", "data.mask_pattern"})  # who gives them has images with masks


@dataclass(frozen=True)
class Check:
    """images: the index. formats: how many files of each kind ("JPEG RGB"). sides: (smallest, median, largest) of the
    shorter sides in pixels. unreadable: files that cannot be decoded."""

    images: ImageSet
    formats: dict[str, int]
    sides: tuple[int, float, int]
    unreadable: list[Unreadable]


def check(
    data: str | Path,
    *,
    out: str | Path | None = None,
    overlays: int = 12,
    overrides: Mapping[str, Any] | None = None,
    console: Console | None = None,
) -> Check | MaskCheck:
    """Reads and decodes every image of `data`, as training would; of images with masks, the masks too.

    out: a folder for drawings of masks over their images, `overlays` of them. overrides: recipe fields such as
    {"data.group": …}. Raises UserError where training would, except for files that cannot be used, which are listed.
    """
    if is_masked(data) or _MASKED & (overrides or {}).keys():
        masks = load_for(SegmentationRecipe, {"task": "segmentation"}, overrides).data
        return check_masks(data, masks, out=None if out is None else Path(out), count=overlays, console=console)
    if out is not None:
        raise UserError(f"{data}: no images with masks, so there are no overlays to draw. Leave --out away.")
    spec = load_for(Recipe, {}, overrides).data
    images = read_images(data, spec)
    paths = [images.root / sample.path for sample in (*images.train, *images.validation)]
    formats: Counter[str] = Counter()
    sides: list[int] = []
    unreadable: list[Unreadable] = []
    with ThreadPoolExecutor() as pool:
        found = track(
            pool.map(_look, paths), "decoding", len(paths), console=console or Console(stderr=True), transient=True
        )
        for path, (kind, side, reason) in zip(paths, found, strict=True):
            if reason is not None:
                unreadable.append(Unreadable(str(path), reason))
                continue
            formats[kind] += 1
            sides.append(side)
    shown = (min(sides), median(sides), max(sides)) if sides else (0, 0.0, 0)
    return Check(images, dict(formats.most_common()), shown, unreadable)


def render(check: Check | MaskCheck) -> RenderableType:
    """A check as text for people."""
    if isinstance(check, MaskCheck):
        return render_masks(check)
    images = check.images
    table = Table(box=None, pad_edge=False)
    for column in ("class", "training", "validation"):
        table.add_column(column, justify="left" if column == "class" else "right")
    train = Counter(sample.label for sample in images.train)
    validation = Counter(sample.label for sample in images.validation)
    for label, name in enumerate(images.classes):
        table.add_row(escape(name), f"{train[label]:,}", f"{validation[label]:,}")
    table.add_row("[bold]all[/]", f"[bold]{len(images.train):,}[/]", f"[bold]{len(images.validation):,}[/]")
    smallest, middle, largest = check.sides
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in check.formats.items())
    lines = [
        escape(f"{images.root}: {images.layout}; {images.split}"),
        f"shorter side: {smallest} to {largest} px, median {middle:g}; {kinds}",
        *(f"[yellow]note:[/] {escape(note)}" for note in images.notes),
    ]
    listed = (escape(f"{entry.path}: {entry.reason}") for entry in check.unreadable[:_MOST_LISTED])
    lines += [f"[red]unreadable:[/] {line}" for line in listed]
    if len(check.unreadable) > _MOST_LISTED:
        lines.append(f"… and {len(check.unreadable) - _MOST_LISTED} more unreadable files")
    if check.unreadable:
        lines.append("To train without unreadable files: data.unreadable=skip")
    return Group(table, "", *lines)


def _look(path: Path) -> tuple[str, int, str | None]:
    """(kind, shorter side, what is wrong) of one file."""
    try:
        decode(path, 256)
        kind, width, height = kind_and_size(path)
        return kind, min(width, height), None
    except UnreadableImageError as error:
        return "", 0, error.reason
