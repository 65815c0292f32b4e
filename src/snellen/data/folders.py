"""The layouts of folders that people have."""

from __future__ import annotations

import re
from pathlib import Path

from snellen.data.sources import IMAGE_SUFFIXES, TABLE_SUFFIXES, DataSpec, Found, Listing, Side, images_below
from snellen.errors import UserError

_SPLITS: list[tuple[Side, str]] = [
    ("train", r"train(ing)?([ _.-].*)?"),
    ("validation", r"(val|valid|validation|dev)([ _.-].*)?"),
    ("validation", r"(test|testing)([ _.-].*)?"),
]
_NAMED = r"(?P<class>.+?)[ _-]\d+"


def list_folder(root: Path, spec: DataSpec) -> Listing:
    """Labelled images below `root`: class folders or flat files, with or without train/ and val/ above them.

    Raises UserError when no layout fits, for an empty class folder, and for a file whose name holds no class.
    """
    train, validation, notes = split_folders(root)
    if train is None or validation is None:
        if train is not None and _subfolders(root) == [train]:  # beside others, it is a class: trains, cars, planes
            notes.append(f"only {train.name}/ is there, no val/: the split is drawn within it")
            root = train
        images, layout = _list_side(root, root, "unknown", spec, notes)
    else:
        images, layout = _list_side(root, train, "train", spec, notes)
        more, _ = _list_side(root, validation, "validation", spec, notes)
        images += more
        layout = f"{layout} in {train.name}/ and {validation.name}/"
    if not images:
        raise UserError(f"{root}: no images ({', '.join(sorted(IMAGE_SUFFIXES))}). Wanted a folder for each class.")
    return Listing(root, layout, images, notes)


def split_folders(root: Path) -> tuple[Path | None, Path | None, list[str]]:
    """The folders train/ and val/ (or test/) of `root`, None where there is none, and notes for people.

    Raises UserError where two folders look like the same part.
    """
    found: list[list[Path]] = []
    for _, pattern in _SPLITS:
        matches = [folder for folder in _subfolders(root) if re.fullmatch(pattern, folder.name, re.IGNORECASE)]
        if len(matches) > 1:
            names = " and ".join(match.name for match in matches)
            raise UserError(f"{root}: both {names} look like one part of a split. Move one of them away.")
        found.append(matches)
    train, validation, test = (matches[0] if matches else None for matches in found)
    notes = []
    if train and validation and test:
        notes.append(f"{validation.name}/ is scored, {test.name}/ is left for `snellen evaluate`")
    return train, validation or test, notes


def _list_side(root: Path, folder: Path, side: Side, spec: DataSpec, notes: list[str]) -> tuple[list[Found], str]:
    folders = [sub for sub in _subfolders(folder) if folder != root or sub.name != "__MACOSX"]
    flat = [path for path in sorted(folder.iterdir()) if _is_image(path)]
    if flat and not folders:
        return _list_flat(root, folder, flat, side, spec)
    images = []
    for sub in folders:
        paths = list(images_below(sub))
        if not paths:
            raise UserError(f"{sub}: no images in this class folder. Add some, or remove the folder.")
        images += [Found(_relative(path, root), sub.name, side) for path in paths]
    if flat:
        notes.append(f"{len(flat)} images directly in {folder.name}/, outside the class folders, were left out")
    other = sum(p.is_file() and not p.name.startswith(".") for p in folder.rglob("*")) - len(images) - len(flat)
    if other > 0:
        notes.append(f"{other} files in {folder.name}/ that are no images were passed over")
    return images, "class folders"


def _list_flat(root: Path, folder: Path, flat: list[Path], side: Side, spec: DataSpec) -> tuple[list[Found], str]:
    pattern = re.compile(spec.name_pattern or _NAMED)
    if "class" not in pattern.groupindex:
        raise UserError(f"data.name_pattern={spec.name_pattern}: it needs (?P<class>…) around the class's name.")
    table = _table_beside(folder)
    if table is not None and spec.name_pattern is None:
        from snellen.data.table import list_table

        listing = list_table(table, spec, images=folder)
        return [
            Found(_relative(listing.root / image.path, root), image.label, side, image.group)
            for image in listing.images
        ], f"images with the table {table.name}"
    images = []
    for path in flat:
        match = pattern.fullmatch(path.stem) or (pattern.match(path.name) if spec.name_pattern else None)
        if match is None:
            raise UserError(
                f"{path}: no class in its name. Wanted class folders, or names such as cat_0001.jpg; "
                "or give data.name_pattern, a regular expression with (?P<class>…)."
            )
        images.append(Found(_relative(path, root), match["class"], side))
    return images, "flat files with the class in the name"


def _table_beside(folder: Path) -> Path | None:
    """A table of labels in the folder, or beside it under the folder's name."""
    inside = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in TABLE_SUFFIXES]
    beside = [folder.with_name(folder.name + suffix) for suffix in sorted(TABLE_SUFFIXES)]
    found = inside + [path for path in beside if path.is_file()]
    if len(found) > 1:
        raise UserError(f"{folder}: several tables ({', '.join(path.name for path in found)}). Leave one, or name it.")
    return found[0] if found else None


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
