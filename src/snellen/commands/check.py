"""What a source of images holds, before any training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from snellen.data.decode import UnreadableImageError, decode, kind_and_size
from snellen.data.depth import settle_bits
from snellen.data.folders import UnlabelledError
from snellen.data.given import check_path, check_source, name_of
from snellen.data.listing import ImageSet, Unreadable
from snellen.data.masks.sources import is_masked
from snellen.data.sources import read_images
from snellen.data.unlabelled import read_unlabelled
from snellen.errors import UserError
from snellen.files import as_path
from snellen.recipe.load import dotted, load_for
from snellen.tasks.classification.recipe import Recipe
from snellen.tasks.pretraining.check import UnlabelledCheck, render_unlabelled
from snellen.tasks.segmentation.check import MaskCheck, check_masks, listed_files, render_masks
from snellen.tasks.segmentation.recipe import SegmentationRecipe
from snellen.words import counted

if TYPE_CHECKING:
    from snellen.data.sources import Source

_MASKED = frozenset({"data.image_pattern", "data.mask_pattern"})  # who gives them has images with masks


@dataclass(frozen=True, repr=False)
class Check:
    """images: the index. formats: how many files of each kind ("JPEG RGB"). sides: (smallest, median, largest) of the
    shorter sides in pixels. unreadable: files that cannot be decoded. notes: on the values of 16-bit images."""

    images: ImageSet
    formats: dict[str, int]
    sides: tuple[int, float, int]
    unreadable: list[Unreadable]
    notes: list[str]

    def __repr__(self) -> str:
        return f"Check of {self.images!r}; {counted(len(self.unreadable), 'unreadable file')}"


def check(
    data: Source,
    *,
    out: str | Path | None = None,
    overlays: int = 12,
    overrides: Mapping[str, Any] | None = None,
    console: Console | None = None,
    quiet: bool = False,
) -> Check | MaskCheck | UnlabelledCheck:
    """Reads and decodes every image of `data`, as training would; of images with masks, the masks too.

    data: as in `train`. Images that look unlabelled, and those that a .txt file lists, are checked as `pretrain` would
    take them. out: a folder for drawings of masks over their images, `overlays` of them. overrides: recipe fields such
    as {"data.group": …}. quiet: show no progress. Raises UserError where training would, except for files that cannot
    be used, which are listed.
    """
    console = console or Console(stderr=True, quiet=quiet)
    data, overrides = check_source(data), dotted(overrides, {})
    if is_masked(data) or _MASKED & overrides.keys():
        masks = load_for(SegmentationRecipe, {"task": "segmentation"}, overrides).data
        folder = None if out is None else as_path(out, "out")
        return check_masks(check_path(data), masks, out=folder, count=overlays, console=console)
    if out is not None:
        raise UserError(f"{name_of(data)}: no images with masks, so there are no overlays to draw. Leave --out away.")
    spec = load_for(Recipe, {}, overrides).data
    try:
        if isinstance(data, str | Path) and Path(data).suffix.lower() == ".txt" and Path(data).is_file():
            return _check_unlabelled(data, "a list of images says no classes", spec.bits, console)
        images = read_images(data, spec)
    except UnlabelledError as error:
        return _check_unlabelled(check_path(data), str(error), spec.bits, console)
    train, scored = ([images.root / sample.path for sample in side] for side in (images.train, images.validation))
    test = [images.root / sample.path for sample in images.test]
    return Check(images, *_look_at_all([*train, *scored, *test], console), settle_bits(spec.bits, train, scored)[1])


def _check_unlabelled(data: str | Path, reason: str, bits: int | None, console: Console) -> UnlabelledCheck:
    images = read_unlabelled(data)
    paths = [images.root / path for path in images.paths]
    return UnlabelledCheck(images, *_look_at_all(paths, console), reason, settle_bits(bits, paths)[1])


def _look_at_all(
    paths: list[Path], console: Console
) -> tuple[dict[str, int], tuple[int, float, int], list[Unreadable]]:
    """Formats, shorter sides and unreadable files, as Check has them."""
    formats: Counter[str] = Counter()
    sides: list[int] = []
    unreadable: list[Unreadable] = []
    with ThreadPoolExecutor() as pool:
        found = track(pool.map(_look, paths), "decoding", len(paths), console=console, transient=True)
        for path, (kind, side, reason) in zip(paths, found, strict=True):
            if reason is not None:
                unreadable.append(Unreadable(str(path), reason))
                continue
            formats[kind] += 1
            sides.append(side)
    side_range = (min(sides), median(sides), max(sides)) if sides else (0, 0.0, 0)
    return dict(formats.most_common()), side_range, unreadable


def render(check: Check | MaskCheck | UnlabelledCheck) -> RenderableType:
    """A check as text for people."""
    if isinstance(check, UnlabelledCheck):
        return render_unlabelled(check, [_formats_line(check), *_unreadable_lines(check)])
    if isinstance(check, MaskCheck):
        return render_masks(check)
    images = check.images
    table = Table(box=None, pad_edge=False)
    parts = {"training": images.train, "validation": images.validation} | ({"test": images.test} if images.test else {})
    for column in ("class", *parts):
        table.add_column(column, justify="left" if column == "class" else "right")
    counts = [Counter(sample.label for sample in samples) for samples in parts.values()]
    for label, name in enumerate(images.classes):
        table.add_row(escape(name), *(f"{count[label]:,}" for count in counts))
    table.add_row("[bold]all[/]", *(f"[bold]{len(samples):,}[/]" for samples in parts.values()))
    lines = [
        escape(f"{images.root}: {images.layout}; {images.split}"),
        _formats_line(check),
        *(f"[yellow]note:[/] {escape(note)}" for note in (*images.notes, *check.notes)),
        *_unreadable_lines(check),
    ]
    return Group(table, "", *lines)


def _formats_line(check: Check | UnlabelledCheck) -> str:
    smallest, middle, largest = check.sides
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in check.formats.items())
    return f"shorter side: {smallest} to {largest} px, median {middle:g}; {kinds}"


def _unreadable_lines(check: Check | UnlabelledCheck) -> list[str]:
    return listed_files("unreadable", check.unreadable, "data.unreadable=skip")


def _look(path: Path) -> tuple[str, int, str | None]:
    """(kind, shorter side, what is wrong) of one file."""
    try:
        decode(path, 256)
        kind, width, height = kind_and_size(path)
        return kind, min(width, height), None
    except UnreadableImageError as error:
        return "", 0, error.reason
