"""Sources of labelled images, and the images listed from one."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence, Sized
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Generic, Literal, Protocol, TypeAlias, TypeVar

from pydantic import AfterValidator, Field

from snellen.data.bits import BITS_DESCRIPTION, CACHE_DESCRIPTION, DISK_CACHE_DESCRIPTION, DISK_CACHE_MIB
from snellen.data.suffixes import IMAGE_SUFFIXES as IMAGE_SUFFIXES
from snellen.data.suffixes import TABLE_SUFFIXES as TABLE_SUFFIXES
from snellen.data.walk import files_below
from snellen.errors import UserError
from snellen.spec import Spec
from snellen.words import counted, images_by_part

if TYPE_CHECKING:
    import pandas as pd

Source: TypeAlias = "str | Path | pd.DataFrame"
"""Where labelled images come from: a folder, a table, torchvision:NAME, or a DataFrame of paths and classes."""


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
        0.15, gt=0, le=0.5, description="Share of the images used for validation, if the data come without a split."
    )
    fraction: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of the training images that is used, in proportion for each class, drawn with the recipe's "
        "seed; groups stay whole. Smaller shares are subsets of larger ones; the validation images stay the same.",
    )
    group: Pattern | None = Field(
        None,
        description="What ties images together (patient, video, field): a column of the table, or a regular expression "
        "with one pair of parentheses on the path. Images of one group stay on one side of the split.",
    )
    name_pattern: Pattern | None = Field(
        None, description="Regular expression with (?P<class>…) on the file name, for flat folders. null: NAME_NUMBER."
    )
    image_column: str | None = Field(None, description="Column of paths in a table. null: detected by its name.")
    label_column: str | None = Field(None, description="Column of classes in a table. null: detected by its name.")
    split_column: str | None = Field(None, description="Column of train / val in a table. null: detected by its name.")
    unreadable: Literal["error", "skip"] = Field("error", description="What to do with images that cannot be decoded.")
    bits: int | None = Field(None, ge=8, le=16, description=BITS_DESCRIPTION)
    cache_mib: int = Field(8192, ge=0, description=CACHE_DESCRIPTION)
    disk_cache_mib: int = Field(DISK_CACHE_MIB, ge=0, description=DISK_CACHE_DESCRIPTION)


@dataclass(frozen=True)
class Sample:
    """path: relative to the root, or absolute. label: index into the classes. group: the image's group, if known."""

    path: str
    label: int
    group: str | None = None


@dataclass(frozen=True)
class Unreadable:
    """A file that was left out, and why."""

    path: str
    reason: str


class _AnySample(Protocol):
    """An image of a set, with what is known about it."""

    @property
    def path(self) -> str:
        """Relative to the root, or absolute."""

    @property
    def group(self) -> str | None:
        """The image's group, if known."""


AnySample = TypeVar("AnySample", bound=_AnySample)
Classes = TypeVar("Classes", bound=Sized)


@dataclass(frozen=True, repr=False)
class SplitSet(Generic[AnySample, Classes]):
    """Images of one source, with what is to be learnt from them, in parts.

    layout, split: how they were found and split, in words. notes: for people. left_out: files that are not used, and
    why. fingerprint: a hash of the split, path and content of every image, and of what is to be learnt. test: scored
    once, by the finished run. by_content: whether the contents of all files were read, and not only names and sizes.
    """

    root: Path
    layout: str
    classes: Classes
    train: tuple[AnySample, ...]
    validation: tuple[AnySample, ...]
    split: str
    notes: tuple[str, ...]
    left_out: tuple[Unreadable, ...]
    fingerprint: str
    test: tuple[AnySample, ...] = ()
    by_content: bool = True

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.root}: {self.layout}): {self.summary}"

    @property
    def summary(self) -> str:
        """The number of images of each part and of classes, in words."""
        return f"{self.counts}, {self.class_count}"

    @property
    def parts(self) -> dict[str, tuple[AnySample, ...]]:
        """The images by the name of their part; test only if there is one."""
        parts = {"train": self.train, "validation": self.validation}
        return parts | {"test": self.test} if self.test else parts

    @property
    def counts(self) -> str:
        """The number of images of each part, in words."""
        return images_by_part(len(self.train), len(self.validation), len(self.test))

    @property
    def class_count(self) -> str:
        """The number of classes, in words."""
        return counted(len(self.classes), "class", "classes")

    @property
    def training_files(self) -> list[Path]:
        """The files of the training images, absolute."""
        return self.files(self.train)

    def files(self, samples: Sequence[AnySample]) -> list[Path]:
        """The files of some of the images, absolute."""
        root = self.root.resolve()
        return [root / sample.path for sample in samples]


@dataclass(frozen=True, repr=False)
class ImageSet(SplitSet[Sample, tuple[str, ...]]):
    """Labelled images of one source."""


Side = Literal["train", "validation", "test", "unknown"]


@dataclass(frozen=True)
class LabelledImage:
    """An image with its label, before classes are numbered. path: relative to the root, with forward slashes."""

    path: str
    label: str
    side: Side
    group: str | None = None


@dataclass(frozen=True)
class Listing:
    """All labelled images of a source. layout: in words. notes: for people."""

    root: Path
    layout: str
    images: list[LabelledImage]
    notes: list[str]


def images_below(folder: Path) -> list[str]:
    """Image files at any depth, sorted; hidden files and folders and __MACOSX are skipped.

    Paths are relative to the folder, with forward slashes.
    """
    names = [name for name in files_below(folder) if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES]
    return sorted(names, key=lambda name: name.split("/"))


def natural(name: str) -> list[tuple[int, int, str]]:
    """A sort key by which 'class 2' comes before 'class 10'."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]


def grouped(images: list[LabelledImage], group: str | None) -> list[LabelledImage]:
    """The images with their groups, extracted from the paths by `group`, a regular expression with one capture group.

    Raises UserError if it does not match.
    """
    if group is None or any(image.group is not None for image in images):
        return images  # a table has its own column of groups
    pattern = re.compile(group)
    if pattern.groups != 1:
        raise UserError(
            f"data.group={group}: no column of that name, and as a regular expression it needs exactly one pair "
            "of parentheses around the name of the group, as in '(patient\\d+)_'."
        )
    result = []
    for image in images:
        match = pattern.search(image.path)
        if match is None:
            raise UserError(f"data.group={group}: it does not match '{image.path}'. Every image needs a group.")
        result.append(replace(image, group=match[1]))
    return result
