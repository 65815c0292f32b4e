"""Folder layouts of labelled images: class folders and flat files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from snellen.data.listing import IMAGE_SUFFIXES, TABLE_SUFFIXES, DataSpec, LabelledImage, Listing, Side, images_below
from snellen.errors import UserError
from snellen.words import counted

_SPLITS: list[tuple[Side, str]] = [
    ("train", r"train(?:ing)?"),
    ("validation", r"val|valid|validation|dev"),
    ("test", r"test|testing"),
]
_NAMED = r"(?P<class>.+?)[ _-]\d+"
_FLAT = "flat files with the class in the name"
_CAMERA = re.compile(r"(img|dsc[nf]?|dji|gopr|pxl|mvimg)([ _-]?\d+)*", re.IGNORECASE)  # IMG_0001, IMG_20240131_1200


class UnlabelledError(UserError):
    """Images whose classes cannot be determined."""


def _look_unlabelled(folder: Path, first: Path, count: int) -> UnlabelledError:
    """The error for a flat folder of images whose names do not contain classes."""
    names = first.name if count == 1 else f"{first.name} and {count - 1:,} more"
    return UnlabelledError(
        f"{folder}: these images look unlabelled ({names}): no classes in their names, no class folders, no table. "
        f"To learn from images without labels: snellen pretrain {folder}. To train a classifier: use one folder per "
        "class, names such as cat_0001.jpg and dog_0001.jpg, or data.name_pattern, a regular expression with "
        "(?P<class>…)."
    )


def list_folder(root: Path, spec: DataSpec) -> Listing:
    """Labelled images below `root`: class folders or flat files, with or without train/ and val/ above them.

    Raises UserError if no layout fits, for an empty class folder, and for a file whose name contains no class.
    """
    parts = split_folders(root)
    train, validation, notes = parts.train, parts.validation, []
    if train is None or validation is None:
        if train is not None and _subfolders(root) == [train]:  # next to others it is a class: trains, cars, planes
            notes.append(f"there is a {train.name}/ but no val/: {train.name}/ is split into training and validation")
            root = train
        images, layout = _list_side(root, root, "unknown", spec, notes)
    else:
        images, layout = _list_side(root, train, "train", spec, notes)
        validation_images, _ = _list_side(root, validation, "validation", spec, notes)
        images += validation_images
        layout = f"{layout} in {train.name}/ and {validation.name}/"
        if parts.test is not None:
            images += _list_test(root, parts.test, spec, notes)
    if not images:
        raise _no_images(root, f"({', '.join(sorted(IMAGE_SUFFIXES))}). Expected one folder per class.")
    return Listing(root, layout, images, notes)


def check_names_say_classes(listing: Listing, spec: DataSpec) -> None:
    """Raises UnlabelledError if the names of flat files give only one class, or a camera's: IMG_0001, DSC_0002."""
    if spec.name_pattern is not None or not listing.layout.startswith(_FLAT):
        return
    classes = {image.label for image in listing.images}
    if len(classes) == 1 or all(_CAMERA.fullmatch(name) for name in classes):
        raise _look_unlabelled(listing.root, Path(listing.images[0].path), len(listing.images))


@dataclass(frozen=True)
class SplitFolders:
    """validation: val/, or else test/. test: test/, unless it is the validation part."""

    train: Path | None
    validation: Path | None = None
    test: Path | None = None


def split_folders(root: Path) -> SplitFolders:
    """The folders train/, val/ and test/ of `root`, None for those that do not exist.

    Names may have endings, as in train_50/ and val_50/; next to other folders such names are parts of a split only if
    they have the same ending, since a class may be called train_station. Raises UserError if two folders look like
    the same part.
    """
    subfolders = _subfolders(root)
    parts = [_part(subfolders, pattern) for _, pattern in _SPLITS]
    train, *held_out = parts
    if not train or not any(held_out):
        return SplitFolders(train[0][0] if len(train) == 1 else None)
    endings = {ending for _, ending in train} & {ending for part in held_out for _, ending in part}
    exact = any(not ending for _, ending in train)
    if not exact and not endings and len(subfolders) > sum(map(len, parts)):
        return SplitFolders(None)  # train_station, test_kitchen and bedroom are classes
    for part in parts:
        if len(part) > 1:
            names = " and ".join(folder.name for folder, _ in part)
            raise UserError(
                f"{root}: {names} look like the same part of a split. Move one of them away; if they are classes, put "
                "all class folders into a folder train/."
            )
    first, validation, test = (part[0][0] if part else None for part in parts)
    return SplitFolders(first, validation or test, test if validation else None)


def _part(folders: list[Path], pattern: str) -> list[tuple[Path, str]]:
    """The folders whose names begin with `pattern`, and the endings of their names."""
    matches = [(folder, re.fullmatch(rf"({pattern})([ _.-].*)?", folder.name, re.IGNORECASE)) for folder in folders]
    return [(folder, match[2] or "") for folder, match in matches if match]


def _list_side(
    root: Path, folder: Path, side: Side, spec: DataSpec, notes: list[str]
) -> tuple[list[LabelledImage], str]:
    folders = [sub for sub in _subfolders(folder) if folder != root or sub.name != "__MACOSX"]
    flat = [path for path in sorted(folder.iterdir()) if _is_image(path)]
    if flat and not folders:
        _note_others(folder, notes)
        return _list_flat(root, folder, flat, side, spec)
    images = []
    for sub in folders:
        names = images_below(sub)
        if not names:
            raise _no_images(sub, "in this class folder. Add some, or remove the folder.")
        above = _relative(sub, root)
        images += [LabelledImage(f"{above}/{name}", sub.name, side) for name in names]
    if flat:
        notes.append(f"left out {counted(len(flat), 'image')} directly in {folder.name}/, outside the class folders")
    _note_others(folder, notes)
    return images, "class folders"


def _list_test(root: Path, folder: Path, spec: DataSpec, notes: list[str]) -> list[LabelledImage]:
    """Labelled images of the test part; none, with a note if it has no labels, as in competitions."""
    try:
        images, _ = _list_side(root, folder, "test", spec, notes)
    except UserError:
        images = []
    if not images:
        notes.append(f"{folder.name}/ is not scored: it contains no labelled images")
    return images


def _note_others(folder: Path, notes: list[str]) -> None:
    from snellen.data.passed_over import passed_over_note

    if (note := passed_over_note(folder)) is not None:
        notes.append(note)


def _no_images(folder: Path, detail: str) -> UserError:
    from snellen.data.passed_over import passed_over_note

    note = passed_over_note(folder)
    return UserError(f"{folder}: no images {detail}{f' {note}.' if note else ''}")


def _list_flat(
    root: Path, folder: Path, flat: list[Path], side: Side, spec: DataSpec
) -> tuple[list[LabelledImage], str]:
    pattern = re.compile(spec.name_pattern or _NAMED)
    if "class" not in pattern.groupindex:
        raise UserError(f"data.name_pattern={spec.name_pattern}: it needs (?P<class>…) around the class name.")
    table = _table_beside(folder)
    if table is not None and spec.name_pattern is None:
        from snellen.data.table import list_table

        listing = list_table(table, spec, images=folder)
        return [
            LabelledImage(_relative(listing.root / image.path, root), image.label, side, image.group)
            for image in listing.images
        ], f"images with the table {table.name}"
    images, unnamed = [], []
    for path in flat:
        match = pattern.fullmatch(path.stem) or (pattern.match(path.name) if spec.name_pattern else None)
        if match is None:
            unnamed.append(path)
        else:
            images.append(LabelledImage(_relative(path, root), match["class"], side))
    if spec.name_pattern is None and 2 * len(unnamed) > len(flat):
        raise _look_unlabelled(folder, flat[0], len(flat))
    if unnamed:
        raise UserError(
            f"{unnamed[0]}: no class in its name. Use class folders, or names such as cat_0001.jpg; "
            "or set data.name_pattern, a regular expression with (?P<class>…)."
        )
    return images, _FLAT


def _table_beside(folder: Path) -> Path | None:
    """A table of labels in the folder, or next to it under the folder's name."""
    inside = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in TABLE_SUFFIXES]
    beside = [folder.with_name(folder.name + suffix) for suffix in sorted(TABLE_SUFFIXES)]
    tables = inside + [path for path in beside if path.is_file()]
    if len(tables) > 1:
        raise UserError(
            f"{folder}: several tables ({', '.join(path.name for path in tables)}). Keep one, or give its path."
        )
    return tables[0] if tables else None


def _subfolders(folder: Path) -> list[Path]:
    return [
        path
        for path in sorted(folder.iterdir())
        if path.is_dir() and not path.name.startswith(".") and path.name != "__MACOSX"
    ]


def _is_image(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
