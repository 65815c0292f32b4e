"""Images without labels: any folder, searched recursively."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from snellen.data.bits import BITS_DESCRIPTION, CACHE_DESCRIPTION, DISK_CACHE_DESCRIPTION, DISK_CACHE_MIB
from snellen.data.fingerprint import combined, identities, is_large, uncompared_note
from snellen.data.folders import split_folders
from snellen.data.listing import IMAGE_SUFFIXES, Unreadable, images_below
from snellen.data.passed_over import passed_over_note
from snellen.data.shards.sources import inside_shards, source_path
from snellen.errors import UserError
from snellen.spec import Spec
from snellen.words import counted


class UnlabelledSpec(Spec):
    """How images are found and cached."""

    unreadable: Literal["error", "skip"] = Field("error", description="What to do with images that cannot be decoded.")
    bits: int | None = Field(None, ge=8, le=16, description=BITS_DESCRIPTION)
    cache_mib: int = Field(8192, ge=0, description=CACHE_DESCRIPTION)
    disk_cache_mib: int = Field(DISK_CACHE_MIB, ge=0, description=DISK_CACHE_DESCRIPTION)


@dataclass(frozen=True, repr=False)
class UnlabelledSet:
    """Images of one source. paths: relative to the root. The other fields are as in ImageSet."""

    root: Path
    layout: str
    paths: tuple[str, ...]
    notes: tuple[str, ...]
    left_out: tuple[Unreadable, ...]
    fingerprint: str
    by_content: bool = True

    @property
    def training_files(self) -> list[Path]:
        """The files of the images, absolute."""
        root = self.root.resolve()
        return [root / name for name in self.paths]

    def __repr__(self) -> str:
        return f"UnlabelledSet({self.root}: {self.layout}): {self.summary}"

    @property
    def summary(self) -> str:
        """The number of images, in words."""
        return counted(len(self.paths), "image")


def read_unlabelled(source: str | Path, compare: bool = False) -> UnlabelledSet:
    """The images below `source`, a folder or torchvision:NAME, or those listed in a .txt file, one path per line.

    Of a folder with train/ and val/ (or test/) only train/ is used, so that images which are scored later are not
    trained on. compare: by content, even so many images that it takes minutes. Raises UserError if there is no such
    folder or fewer than two images.
    """
    path = source_path(source)
    if path.suffix.lower() == ".txt" and path.is_file():
        root, files, layout, notes = path.parent, listed_images(path), f"listed in {path.name}", list[str]()
    elif path.is_dir():
        root, (files, layout, notes) = path, _below(path)
    else:
        raise UserError(
            f"{source}: expected a folder of images, torchvision:NAME, or a .txt file with one path per line."
        )
    if len(files) < 2:
        number = "no images" if not files else "only one image"
        details = "".join(f" {note}." for note in notes)
        raise UserError(f"{source}: {number} ({', '.join(sorted(IMAGE_SUFFIXES))}). Pretraining needs many.{details}")
    paths = tuple(_relative(image, root) for image in files)
    by_content = compare or not is_large(files)
    hashes = identities(files, paths, by_content)
    repeated = len(hashes) - len(set(hashes))
    if not by_content:
        notes.append(uncompared_note(len(files)))
    if repeated:
        notes.append(f"{counted(repeated, 'image is a copy', 'images are copies')} of another one")
    fingerprint = combined(f"{digest} {name}" for digest, name in zip(hashes, paths, strict=True))
    return UnlabelledSet(root, layout, paths, tuple(notes), (), fingerprint, by_content)


def _below(path: Path) -> tuple[list[Path], str, list[str]]:
    parts = split_folders(path)
    train, held_out = parts.train, parts.validation
    if train is None or held_out is None:
        return _files(path), "images at any depth", _skipped(path)
    note = f"only {train.name}/ is used for training; {held_out.name}/ is kept for evaluation"
    return _files(train), f"images at any depth of {train.name}/", [note, *_skipped(train)]


def _files(folder: Path) -> list[Path]:
    return [folder / name for name in images_below(folder)]


def _skipped(folder: Path) -> list[str]:
    note = passed_over_note(folder)
    return [] if note is None else [note]


def listed_images(file: Path) -> list[Path]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{file}: not a text file in UTF-8. Expected one image path per line.") from None
    images = [file.parent / line.strip() for line in lines if line.strip()]  # absolute paths stay absolute
    images = [image if image.is_file() else inside_shards(image) for image in images]
    for number, image in enumerate(images, start=1):
        if not image.is_file():
            raise UserError(
                f"{file}, image {number}: {image} is not a file. Paths are absolute or relative to the list."
            )
    return images


def _relative(image: Path, root: Path) -> str:
    return image.relative_to(root).as_posix() if image.is_relative_to(root) else image.as_posix()
