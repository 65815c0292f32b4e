"""Images without labels: any folder, at any depth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from snellen.data.fingerprint import combined, content_hashes
from snellen.data.folders import split_folders
from snellen.data.sources import IMAGE_SUFFIXES, Unreadable, images_below
from snellen.errors import UserError
from snellen.spec import Spec


class UnlabelledSpec(Spec):
    """How images are found and kept."""

    unreadable: Literal["error", "skip"] = Field("error", description="What to do with images that cannot be decoded.")
    cache_mib: int = Field(
        8192, ge=0, description="Decoded images kept in memory, in MiB; never more than half of what is free."
    )


@dataclass(frozen=True)
class UnlabelledSet:
    """Images of one source. paths: relative to the root. The rest is as in ImageSet."""

    root: Path
    layout: str
    paths: tuple[str, ...]
    notes: tuple[str, ...]
    left_out: tuple[Unreadable, ...]
    fingerprint: str


def read_unlabelled(source: str | Path) -> UnlabelledSet:
    """The images below `source`, a folder or torchvision:NAME.

    Of a folder with train/ and val/ (or test/) only train/ is taken, so that images which are scored later are not
    learnt from. Raises UserError when there is no such folder or fewer than two images.
    """
    from snellen.data.torchvision_sets import PREFIX, write_set

    path = write_set(str(source).removeprefix(PREFIX)) if str(source).startswith(PREFIX) else Path(source)
    if not path.is_dir():
        raise UserError(f"{source}: wanted a folder of images, at any depth, or torchvision:NAME.")
    train, held_out, _ = split_folders(path)
    folder, notes = path, []
    if train is not None and held_out is not None:
        folder = train
        notes.append(f"only {train.name}/ is learnt from; {held_out.name}/ is left to be scored")
    found = list(images_below(folder))
    if len(found) < 2:
        what = "no images" if not found else "one image only"
        raise UserError(f"{folder}: {what} ({', '.join(sorted(IMAGE_SUFFIXES))}). Pretraining wants many.")
    paths = tuple(image.relative_to(path).as_posix() for image in found)
    hashes = content_hashes(found)
    repeated = len(hashes) - len(set(hashes))
    if repeated:
        notes.append(f"{repeated} images are there more than once")
    fingerprint = combined(f"{digest} {name}" for digest, name in zip(hashes, paths, strict=True))
    layout = "images at any depth" + (f" of {folder.name}/" if folder != path else "")
    return UnlabelledSet(path, layout, paths, tuple(notes), (), fingerprint)
