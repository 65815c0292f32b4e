"""From what the user has (a folder, a table, a built-in set) to an index of labelled images, split in two."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from glob import glob
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field

from snellen.data.bits import BITS_DESCRIPTION, CACHE_DESCRIPTION
from snellen.data.fingerprint import combined, content_hashes
from snellen.data.split import validation_rows
from snellen.data.walk import files_below
from snellen.errors import UserError
from snellen.spec import Spec
from snellen.words import counted, images_by_part

if TYPE_CHECKING:
    import pandas as pd

    Source = str | Path | pd.DataFrame


def _more_suffixes() -> set[str]:
    """Of formats that depend on what is installed: HEIC needs pillow-heif, AVIF a Pillow from 11.3 on."""
    heif = {".heic", ".heif"} if find_spec("pillow_heif") is not None else set()
    return {".avif"} | heif


_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".jfif"}
IMAGE_SUFFIXES = frozenset(_SUFFIXES | _more_suffixes())
_GIVEN = "split as given"
TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".parquet"})


def _check_pattern(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression ({error})") from None
    return pattern


Pattern = Annotated[str, AfterValidator(_check_pattern)]


class DataSpec(Spec):
    """How images and labels are found and split."""

    validation_share: float = Field(
        0.15, gt=0, le=0.5, description="Share of the images that is scored, where the data come without a split."
    )
    fraction: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of the training images that is used, each class in proportion, drawn by the recipe's seed; "
        "groups stay whole. A smaller share is part of a larger one; the scored images stay the same.",
    )
    group: Pattern | None = Field(
        None,
        description="What ties images together (patient, video, field): a column of the table, or a regular expression "
        "with one pair of parentheses on the path. Images of one group stay on one side of the split.",
    )
    name_pattern: Pattern | None = Field(
        None, description="Regular expression with (?P<class>…) on the file name, for flat folders. null: NAME_NUMBER."
    )
    image_column: str | None = Field(None, description="Column of paths in a table. null: found by its name.")
    label_column: str | None = Field(None, description="Column of classes in a table. null: found by its name.")
    split_column: str | None = Field(None, description="Column of train / val in a table. null: found by its name.")
    unreadable: Literal["error", "skip"] = Field("error", description="What to do with images that cannot be decoded.")
    bits: int | None = Field(None, ge=8, le=16, description=BITS_DESCRIPTION)
    cache_mib: int = Field(8192, ge=0, description=CACHE_DESCRIPTION)


@dataclass(frozen=True)
class Sample:
    """path: relative to the root, or absolute. label: index into the classes. group: what it belongs to, if known."""

    path: str
    label: int
    group: str | None = None


@dataclass(frozen=True)
class Unreadable:
    """A file that was left out, and why."""

    path: str
    reason: str


@dataclass(frozen=True, repr=False)
class ImageSet:
    """Labelled images of one source.

    layout, split: how they were found and told apart, in words. notes: what a person should know. fingerprint: a hash
    over split, path, content and class of every image. test: scored once, by the finished run.
    """

    root: Path
    layout: str
    classes: tuple[str, ...]
    train: tuple[Sample, ...]
    validation: tuple[Sample, ...]
    split: str
    notes: tuple[str, ...]
    left_out: tuple[Unreadable, ...]
    fingerprint: str
    test: tuple[Sample, ...] = ()

    def __repr__(self) -> str:
        images = images_by_part(len(self.train), len(self.validation), len(self.test))
        return f"ImageSet({self.root}: {self.layout}): {images}, {counted(len(self.classes), 'class', 'classes')}"


Side = Literal["train", "validation", "test", "unknown"]


@dataclass(frozen=True)
class Found:
    """An image with its label, before classes are numbered. path: relative to the root, with forward slashes."""

    path: str
    label: str
    side: Side
    group: str | None = None


@dataclass(frozen=True)
class Listing:
    """Everything that a source held. layout: in words. notes: what a person should know."""

    root: Path
    layout: str
    images: list[Found]
    notes: list[str]


def read_images(source: Source, spec: DataSpec, root: Path | None = None) -> ImageSet:
    """The labelled images of `source`, split into training and validation, and test where it has a part of that name.

    source: a folder, a table, a DataFrame, or torchvision:NAME. root: what the paths of a table are relative to; None:
    as `list_table` says. Raises UserError, with the file or folder, when it cannot be used.
    """
    from snellen.data.folders import check_names_say_classes
    from snellen.data.leaks import leak_notes, neighbour_notes
    from snellen.data.sample_size import few_images_notes

    listing = _list(source, spec, root)
    check_names_say_classes(listing, spec)
    images, more = _scorable(grouped(listing.images, spec.group))
    hashes = content_hashes([listing.root / image.path for image in images])
    notes = [*listing.notes, *more]
    sides: list[Side] = [image.side for image in images]
    if all(side == "unknown" for side in sides):
        chosen, more = validation_rows(
            [image.label for image in images], hashes, [image.group for image in images], spec.validation_share
        )
        notes += more
        sides = ["validation" if row in chosen else "train" for row in range(len(images))]
        by = "group" if spec.group else "content hash"
        split = f"{spec.validation_share:.0%} held out by {by}"
        if not spec.group:
            notes += neighbour_notes(listing.root, images)
    else:
        split = _GIVEN
    _check_sides(images, sides, listing.root, split == _GIVEN)
    notes += leak_notes(images, sides, hashes)
    train = [image.label for image, side in zip(images, sides, strict=True) if side == "train"]
    scored = [image for image, side in zip(images, sides, strict=True) if side == "validation"]
    share = None if split == _GIVEN else spec.validation_share
    notes += few_images_notes(train, [image.label for image in scored], [image.group for image in scored], share)
    classes = sorted({image.label for image in images}, key=natural)
    number = {name: index for index, name in enumerate(classes)}
    samples: dict[Side, list[Sample]] = {"train": [], "validation": [], "test": []}
    for image, side in zip(images, sides, strict=True):
        samples[side].append(Sample(image.path, number[image.label], image.group))
    rows = zip(sides, images, hashes, strict=True)
    fingerprint = combined(f"{side} {digest} {image.label} {image.path}" for side, image, digest in rows)
    return ImageSet(
        *(listing.root, listing.layout, tuple(classes), tuple(samples["train"]), tuple(samples["validation"])),
        *(split, tuple(notes), (), fingerprint, tuple(samples["test"])),
    )


def labelled_images(source: Source, spec: DataSpec, classes: Sequence[str]) -> ImageSet:
    """All labelled images of `source` as validation images, numbered as in `classes`; for scoring a trained run.

    Of a source that is split, only the validation part; ImageSet.split says so. A file that is named several times
    counts once, with a note. Raises UserError for a class that the run does not know, and for a file under two classes.
    """
    from snellen.data.leaks import repeat_notes

    listing = _list(source, spec)
    everything = grouped(listing.images, spec.group)
    scored = [image for image in everything if image.side == "validation"] or everything
    left = len(everything) - len(scored)
    split = f"the validation part; {counted(left, 'other is', 'others are')} left out" if left else "all scored"
    by_path: dict[str, Found] = {}
    for image in scored:
        first = by_path.setdefault(os.path.normpath(image.path), image)
        if first.label != image.label:
            raise UserError(
                f"{listing.root / image.path}: under two classes, '{first.label}' and '{image.label}', so no answer "
                "could be right. Leave one of them."
            )
    images = list(by_path.values())
    number = {name: index for index, name in enumerate(classes)}
    for image in images:
        if image.label not in number:
            close = difflib.get_close_matches(image.label, classes, n=1)
            hint = f"Did you mean '{close[0]}'?" if close else f"It knows: {', '.join(classes[:20])}."
            raise UserError(f"{listing.root / image.path}: the run knows no class '{image.label}'. {hint}")
    hashes = content_hashes([listing.root / image.path for image in images])
    samples = tuple(Sample(image.path, number[image.label], image.group) for image in images)
    fingerprint = combined(f"{digest} {image.label}" for image, digest in zip(images, hashes, strict=True))
    repeats = len(scored) - len(images)
    once = (f"{counted(repeats, 'row names', 'rows name')} an image again: it is scored once",) if repeats else ()
    notes = (*listing.notes, *once, *repeat_notes([image.label for image in images], hashes))
    return ImageSet(listing.root, listing.layout, tuple(classes), (), samples, split, notes, (), fingerprint)


def list_images(patterns: Sequence[str | Path]) -> list[Path]:
    """Image files named by files, folders (searched at any depth) and globs, sorted, each once.

    A file that is named outright is listed whatever its suffix. Raises UserError for a name that leads to nothing.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            matches = list(images_below(path))
        elif path.is_file():
            matches = [path]
        else:
            matches = sorted(Path(match) for match in glob(str(pattern), recursive=True))
            matches = [m for m in matches if m.is_file() and m.suffix.lower() in IMAGE_SUFFIXES]
        if not matches:
            raise UserError(f"{pattern}: no images. Give image files, folders or a glob such as 'photos/**/*.jpg'.")
        found |= dict.fromkeys(matches)
    return list(found)


def images_below(folder: Path) -> Iterator[Path]:
    """Image files at any depth, sorted; hidden files and folders and __MACOSX are passed over."""
    paths = (Path(name) for name in files_below(folder))
    yield from (folder / path for path in sorted(path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES))


def natural(name: str) -> list[tuple[int, int, str]]:
    """A sort key by which 'class 2' comes before 'class 10'."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]


def _list(source: Source, spec: DataSpec, root: Path | None = None) -> Listing:
    from snellen.data.folders import list_folder
    from snellen.data.table import list_table
    from snellen.data.torchvision_sets import PREFIX, write_set

    if not isinstance(source, str | Path):
        return list_table(source, spec, root)
    if str(source).startswith(PREFIX):
        return list_folder(write_set(str(source).removeprefix(PREFIX)), spec)
    path = Path(source)
    if not path.exists():
        raise UserError(f"{source}: no such file or folder.{_nearest(path)}")
    if path.is_file():
        if path.suffix.lower() not in TABLE_SUFFIXES:
            raise UserError(f"{path}: wanted a folder of images, or a table ({', '.join(sorted(TABLE_SUFFIXES))}).")
        return list_table(path, spec, root)
    return list_folder(path, spec)


def _nearest(path: Path) -> str:
    if not path.parent.is_dir():
        return ""
    close = difflib.get_close_matches(path.name, [other.name for other in path.parent.iterdir()], n=1)
    return f" Did you mean '{path.parent / close[0]}'?" if close else ""


def grouped(images: list[Found], group: str | None) -> list[Found]:
    """The images with what `group`, a regular expression with one pair of parentheses, finds in their paths.

    Raises UserError where it does not fit.
    """
    if group is None or any(image.group is not None for image in images):
        return images  # a table has read its own column
    pattern = re.compile(group)
    if pattern.groups != 1:
        raise UserError(
            f"data.group={group}: no column of that name, and as a regular expression it needs exactly one pair "
            "of parentheses around what names the group, as in '(patient\\d+)_'."
        )
    result = []
    for image in images:
        match = pattern.search(image.path)
        if match is None:
            raise UserError(f"data.group={group}: it does not match '{image.path}'. Every image needs a group.")
        result.append(Found(image.path, image.label, image.side, match[1]))
    return result


def _scorable(images: list[Found]) -> tuple[list[Found], list[str]]:
    """The images without a test part that cannot be scored, since it has classes which training never sees; notes."""
    taught = {image.label for image in images if image.side != "test"}
    strange = sorted({image.label for image in images if image.side == "test"} - taught, key=natural)
    if not strange:
        return images, []
    from snellen.data.sample_size import named_classes

    note = f"the test part is not scored: {named_classes(strange)} no training images"
    return [image for image in images if image.side != "test"], [note]


def _check_sides(images: list[Found], sides: list[Side], root: Path, given: bool) -> None:
    classes = {image.label for image in images}
    if len(classes) < 2:
        raise UserError(
            f"{root}: one class only ('{next(iter(classes))}'); a classifier needs at least two. To learn from images "
            f"without labels: snellen pretrain {root}"
        )
    seen = {image.label for image, side in zip(images, sides, strict=True) if side == "train"}
    scored = {image.label for image, side in zip(images, sides, strict=True) if side == "validation"}
    if not seen or not scored:
        missing = "training" if not seen else "validation"
        if given:
            raise UserError(f"{root}: no {missing} images. Both parts of the split must hold images.")
        raise UserError(
            f"{root}: no {missing} images, since every class has one image (or group) only, which training takes."
        )
    for image, side in zip(images, sides, strict=True):
        if side == "validation" and image.label not in seen:
            close = difflib.get_close_matches(image.label, seen, n=1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            raise UserError(
                f"{root / image.path}: class '{image.label}' is never seen in training, so it cannot be scored.{hint}"
            )
