"""Which files of a source go into shards, under which names, in the order in which they are read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from snellen.data.folders import check_names_say_classes
from snellen.data.listing import IMAGE_SUFFIXES, TABLE_SUFFIXES, DataSpec, Listing, Side, natural
from snellen.data.masks.class_files import FILE_NAMES
from snellen.data.masks.pairing import find_pairs
from snellen.data.passed_over import passed_over_note
from snellen.data.shards.sources import source_path
from snellen.data.sources import list_source
from snellen.data.unlabelled import listed_images
from snellen.data.walk import files_below
from snellen.errors import UserError
from snellen.words import counted

_PALETTE = ".aux.xml"  # of a TIFF, next to it


class Packed(NamedTuple):
    """A file in shards. extension: its name in the tar file, after the sample's key. name: relative to the root."""

    extension: str
    path: Path
    name: str


class ShardSample(NamedTuple):
    """Files that belong together: an image, and its mask if it has one. label: number of its class, if it has one."""

    part: str
    key: str
    files: tuple[Packed, ...]
    label: int | None


@dataclass(frozen=True)
class ShardPlan:
    """samples: in the order of reading. others: tables, of images or of classes. entry: the table that was given, ""
    for a folder. classes: their names by number. notes: for people."""

    samples: list[ShardSample]
    others: list[Packed]
    entry: str
    classes: list[str]
    notes: list[str]

    @property
    def counts(self) -> str:
        """How many images there are, with how many masks, and of how many classes, in words."""
        masks = sum(len(sample.files) > 1 for sample in self.samples)
        masked = f", {masks:,} with masks" if masks else ""
        labelled = f", {counted(len(self.classes), 'class', 'classes')}" if self.classes else ""
        return f"{counted(len(self.samples), 'image')}{masked}{labelled}"


class _Image(NamedTuple):
    name: str
    side: Side
    label: str | None = None
    mask: str | None = None


def plan_shards(source: str | Path) -> ShardPlan:
    """The samples of a folder, a table, a .txt list of images, torchvision:NAME or other shards.

    Everything that decides how a folder is read is kept: names, tables of images, tables of classes. Raises UserError
    if there are no images, or if a table names images that are not below its folder.
    """
    path = source_path(source)
    if path.is_dir():
        return _of_folder(path.absolute())  # so that it has a name
    if path.suffix.lower() == ".txt" and path.is_file():
        images = [_Image(os.path.relpath(image, path.parent), "unknown") for image in listed_images(path)]
    else:
        images = _listed(list_source(source, DataSpec()), path.parent)
    for image in images:
        if image.name.startswith("../") or os.path.isabs(image.name):
            raise UserError(
                f"{path}: '{image.name}' is not below its folder, so it has no name in shards. Move the table to a "
                "folder above all its images."
            )
    return _planned(path.parent, images, [Packed(path.name, path, path.name)], path.name, [])


def _of_folder(root: Path) -> ShardPlan:
    names = sorted(files_below(root))
    everything = [name for name in names if f".{_suffix(name)}" in IMAGE_SUFFIXES]
    if not everything:
        raise UserError(f"{root}: no images ({', '.join(sorted(IMAGE_SUFFIXES))}).")
    others = [Packed(name, root / name, name) for name in names if _is_kept(name)]
    beside = [root.with_name(root.name + suffix) for suffix in sorted(TABLE_SUFFIXES)]
    others += [Packed(table.name, table, table.name) for table in beside if table.is_file()]
    note = passed_over_note(root, [name for name in names if not _is_kept(name)])
    notes = [] if note is None else [note]
    pairing = find_pairs(root, None, None)
    if pairing is not None:
        images = [_Image(pair.image, pair.side, mask=pair.mask) for pair in pairing.pairs]
    else:
        images, reason = _labelled(root)
        notes += reason
    known = {name for image in images for name in (image.name, image.mask)}
    images += [_Image(name, "unknown") for name in everything if name not in known]
    return _planned(root, images, others, "", notes)


def _labelled(root: Path) -> tuple[list[_Image], list[str]]:
    """The images with the class and the part that training would give them; none, with a note, if it would not."""
    try:
        listing: Listing = list_source(root, DataSpec())
        check_names_say_classes(listing, DataSpec())
    except UserError as error:
        return [], [f"the shards name no classes: {error}"]
    return _listed(listing, root), []


def _listed(listing: Listing, root: Path) -> list[_Image]:
    """The images of a listing, with names relative to `root`, plainly written."""
    folder = os.path.relpath(listing.root, root)
    names = [os.path.normpath(os.path.join(folder, image.path)) for image in listing.images]
    return [_Image(name, image.side, image.label) for name, image in zip(names, listing.images, strict=True)]


def _planned(root: Path, images: list[_Image], others: list[Packed], entry: str, notes: list[str]) -> ShardPlan:
    classes = sorted({image.label for image in images if image.label is not None}, key=natural)
    number = {name: row for row, name in enumerate(classes)}
    once = {image.name: image for image in images}  # a table may list an image several times
    samples = []
    for image, key in zip(once.values(), _keys(once), strict=True):
        files = [Packed(_suffix(image.name), root / image.name, image.name)]
        if image.mask is not None:
            files.append(Packed(f"mask.{_suffix(image.mask)}", root / image.mask, image.mask))
        part = "shard" if image.side == "unknown" else image.side
        samples.append(ShardSample(part, key, tuple(files), None if image.label is None else number[image.label]))
    return ShardPlan(samples, others, entry, classes, notes)


def _keys(names: Iterable[str]) -> Iterator[str]:
    """A key for each image: its name without suffix and without further dots, which webdataset takes as one."""
    taken = set[str]()
    for name in names:
        folder, file = os.path.split(name)
        first = key = os.path.join(folder, os.path.splitext(file)[0].replace(".", "_"))
        count = 1
        while key in taken:
            count += 1
            key = f"{first}-{count}"
        taken.add(key)
        yield key


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower().removeprefix(".")


def _is_kept(name: str) -> bool:
    return f".{_suffix(name)}" in TABLE_SUFFIXES or os.path.basename(name) in FILE_NAMES or name.endswith(_PALETTE)
