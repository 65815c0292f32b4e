"""From the user's data (a folder, a table, a built-in set) to an index of labelled images, split in two."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from glob import glob
from pathlib import Path

from snellen.data.fingerprint import combined, content_hashes, identities, is_large, uncompared_note
from snellen.data.listing import (
    IMAGE_SUFFIXES,
    TABLE_SUFFIXES,
    DataSpec,
    ImageSet,
    LabelledImage,
    Listing,
    Sample,
    Side,
    Source,
    grouped,
    images_below,
    natural,
)
from snellen.data.shards.sources import data_path, source_path
from snellen.data.split import scored_part, split_images
from snellen.errors import UserError
from snellen.words import counted, did_you_mean


def read_images(source: Source, spec: DataSpec, root: Path | None = None, compare: bool = False) -> ImageSet:
    """The labelled images of `source`, split into training and validation, and test if it has such a part.

    source: a folder, a table, a DataFrame, or torchvision:NAME. root: what the paths of a table are relative to; None:
    as `list_table` says. compare: by content, even so many images that come with a split that it takes minutes. Raises
    UserError, with the file or folder, if it cannot be used.
    """
    from snellen.data.folders import check_names_say_classes
    from snellen.data.leaks import leak_notes
    from snellen.data.sample_size import few_images_notes

    listing = list_source(source, spec, root)
    check_names_say_classes(listing, spec)
    images, test_notes = _scorable(grouped(listing.images, spec.group))
    files = [listing.root / image.path for image in images]
    by_content = compare or any(image.side == "unknown" for image in images) or not is_large(files)
    hashes = identities(files, [image.path for image in images], by_content)
    split = split_images(images, hashes, spec.group, spec.validation_share, listing.root)
    sides = split.sides
    _check_sides(images, sides, listing.root, split.is_given)
    notes = [*listing.notes, *test_notes, *split.notes, *leak_notes(images, sides, hashes)]
    if not by_content:
        notes.append(uncompared_note(len(images)))
    train = [image.label for image, side in zip(images, sides, strict=True) if side == "train"]
    scored = [image for image, side in zip(images, sides, strict=True) if side == "validation"]
    share = None if split.is_given else spec.validation_share
    notes += few_images_notes(train, [image.label for image in scored], [image.group for image in scored], share)
    classes = sorted({image.label for image in images}, key=natural)
    number = {name: index for index, name in enumerate(classes)}
    samples: dict[Side, list[Sample]] = {"train": [], "validation": [], "test": []}
    for image, side in zip(images, sides, strict=True):
        samples[side].append(Sample(image.path, number[image.label], image.group))
    rows = zip(sides, images, hashes, strict=True)
    fingerprint = combined(f"{side} {digest} {image.label} {image.path}" for side, image, digest in rows)
    return ImageSet(
        root=listing.root,
        layout=listing.layout,
        classes=tuple(classes),
        train=tuple(samples["train"]),
        validation=tuple(samples["validation"]),
        split=split.text,
        notes=tuple(notes),
        left_out=(),
        fingerprint=fingerprint,
        test=tuple(samples["test"]),
        by_content=by_content,
    )


def labelled_images(source: Source, spec: DataSpec, classes: Sequence[str]) -> ImageSet:
    """All labelled images of `source` as validation images, numbered as in `classes`; for scoring a trained run.

    If the source is split, only its validation part; ImageSet.split says so. A file that is listed several times counts
    once, with a note. Raises UserError for a class that the run does not have, and for a file under two classes.
    """
    from snellen.data.leaks import repeat_notes

    listing = list_source(source, spec)
    everything = grouped(listing.images, spec.group)
    scored, split = scored_part(everything)
    by_path: dict[str, LabelledImage] = {}
    for image in scored:
        first = by_path.setdefault(os.path.normpath(image.path), image)
        if first.label != image.label:
            raise UserError(
                f"{listing.root / image.path}: listed under two classes, '{first.label}' and '{image.label}', so no "
                "prediction could be right. Keep one of them."
            )
    images = list(by_path.values())
    number = {name: index for index, name in enumerate(classes)}
    for image in images:
        if image.label not in number:
            hint = did_you_mean(image.label, classes) or f" Its classes: {', '.join(classes[:20])}."
            raise UserError(f"{listing.root / image.path}: the run has no class '{image.label}'.{hint}")
    hashes = content_hashes([listing.root / image.path for image in images])
    samples = tuple(Sample(image.path, number[image.label], image.group) for image in images)
    fingerprint = combined(f"{digest} {image.label}" for image, digest in zip(images, hashes, strict=True))
    repeats = len(scored) - len(images)
    repeated = (f"{counted(repeats, 'row repeats', 'rows repeat')} an image, which is scored once",) if repeats else ()
    notes = (*listing.notes, *repeated, *repeat_notes([image.label for image in images], hashes))
    return ImageSet(
        root=listing.root,
        layout=listing.layout,
        classes=tuple(classes),
        train=(),
        validation=samples,
        split=split,
        notes=notes,
        left_out=(),
        fingerprint=fingerprint,
    )


def list_images(patterns: Sequence[str | Path]) -> list[Path]:
    """Image files given by files, folders (searched recursively) and globs, sorted, without duplicates.

    A file that is given by its own path is listed whatever its suffix. Raises UserError for a pattern without matches.
    """
    images: dict[Path, None] = {}
    for pattern in patterns:
        path = data_path(pattern)
        if path.is_dir():
            matches = [path / name for name in images_below(path)]
        elif path.is_file():
            matches = [path]
        else:
            matches = sorted(Path(match) for match in glob(str(pattern), recursive=True))
            matches = [m for m in matches if m.is_file() and m.suffix.lower() in IMAGE_SUFFIXES]
        if not matches:
            raise UserError(f"{pattern}: no images. Pass image files, folders or a glob such as 'photos/**/*.jpg'.")
        images |= dict.fromkeys(matches)
    return list(images)


def list_source(source: Source, spec: DataSpec, root: Path | None = None) -> Listing:
    from snellen.data.folders import list_folder
    from snellen.data.table import list_table

    if not isinstance(source, str | Path):
        return list_table(source, spec, root)
    path = source_path(source)
    if not path.exists():
        raise UserError(f"{source}: no such file or folder.{_nearest(path)}")
    if path.is_file():
        if path.suffix.lower() not in TABLE_SUFFIXES:
            raise UserError(f"{path}: expected a folder of images, or a table ({', '.join(sorted(TABLE_SUFFIXES))}).")
        return list_table(path, spec, root)
    return list_folder(path, spec)


def _nearest(path: Path) -> str:
    if not path.parent.is_dir():
        return ""
    close = difflib.get_close_matches(path.name, [other.name for other in path.parent.iterdir()], n=1)
    return f" Did you mean '{path.parent / close[0]}'?" if close else ""


def _scorable(images: list[LabelledImage]) -> tuple[list[LabelledImage], list[str]]:
    """The images, without a test part whose classes do not all occur in training, which cannot be scored; and notes."""
    trained = {image.label for image in images if image.side != "test"}
    unseen = sorted({image.label for image in images if image.side == "test"} - trained, key=natural)
    if not unseen:
        return images, []
    from snellen.data.sample_size import named_classes

    note = f"the test part is not scored: {named_classes(unseen)} no training images"
    return [image for image in images if image.side != "test"], [note]


def _check_sides(images: list[LabelledImage], sides: list[Side], root: Path, is_given: bool) -> None:
    classes = {image.label for image in images}
    if len(classes) < 2:
        raise UserError(
            f"{root}: only one class ('{next(iter(classes))}'); a classifier needs at least two. To learn from images "
            f"without labels: snellen pretrain {root}"
        )
    trained = {image.label for image, side in zip(images, sides, strict=True) if side == "train"}
    scored = {image.label for image, side in zip(images, sides, strict=True) if side == "validation"}
    if not trained or not scored:
        missing = "training" if not trained else "validation"
        if is_given:
            raise UserError(f"{root}: no {missing} images. Both parts of the split must hold images.")
        raise UserError(
            f"{root}: no {missing} images, since every class has only one image (or group), which is used for training."
        )
    for image, side in zip(images, sides, strict=True):
        if side == "validation" and image.label not in trained:
            hint = did_you_mean(image.label, trained)
            raise UserError(
                f"{root / image.path}: class '{image.label}' is never seen in training, so it cannot be scored.{hint}"
            )
