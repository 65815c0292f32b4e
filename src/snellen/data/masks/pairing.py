"""Pairs of images and masks: by folders (images/ and masks/), by name endings (_sat, _mask), or by patterns."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Literal

from snellen.data.listing import Side, Unreadable, images_below
from snellen.data.table import SIDES
from snellen.errors import UserError
from snellen.words import counted

Role = Literal["image", "mask"]
Part = Literal["train", "validation", "test", ""]
Key = tuple[str, str]  # the part of the split, and what an image and its mask have in common

_ROLES: dict[str, Role] = {
    **dict.fromkeys(("image", "images", "img", "imgs", "input", "inputs", "photos", "rgb", "jpegimages"), "image"),
    **dict.fromkeys(("mask", "masks", "label", "labels", "annotation", "annotations", "annot", "ann", "gt"), "mask"),
    **dict.fromkeys(("groundtruth", "ground_truth", "target", "targets", "seg", "segmentation"), "mask"),
    **dict.fromkeys(("segmentations", "segmentationclass"), "mask"),
}
_FILLERS = frozenset({"dir", "dirs", "folder"})  # img_dir, ann_dir
_MASK_ENDING = re.compile(
    r"(?P<id>.+?)[ _.-](masks?|labels?|gt|seg|segmentation|annotations?|annot|groundtruth|labelids|trainids|color)$",
    re.IGNORECASE,
)
_FEWEST_PAIRED = 0.5
_MOST_LISTED = 5


@dataclass(frozen=True)
class Pair:
    """image, mask: paths relative to the root, with forward slashes."""

    image: str
    mask: str
    side: Side


@dataclass(frozen=True)
class Pairing:
    """layout: in words. pairs: sorted by image. unpaired: files with no partner or several, and why."""

    layout: str
    pairs: tuple[Pair, ...]
    unpaired: tuple[Unreadable, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _File:
    path: str
    part: Part
    role: Role | None  # according to its folders
    rest: str  # the path without the suffix and the folders that give part or role


def find_pairs(root: Path, image_pattern: str | None, mask_pattern: str | None) -> Pairing | None:
    """The pairs below a folder, None if it contains no images with masks.

    image_pattern, mask_pattern: regular expressions on file names, with one pair of parentheses around what an image
    and its mask have in common; both or neither. Raises UserError for patterns without matches.
    """
    files = [_classified(path) for path in sorted(images_below(root))]
    candidates: _Candidates | None
    if image_pattern is not None or mask_pattern is not None:
        candidates = _by_patterns(files, image_pattern, mask_pattern, root)
        layout = "files paired by the patterns given"
    elif any(file.role == "mask" for file in files):
        candidates, layout = _by_folders(files), "folders of images and of masks"
    else:
        candidates, layout = _by_endings(files)
    if candidates is None:
        return None
    images, masks, notes = candidates
    pairing = _matched(images, masks, layout, notes)
    if image_pattern is None and len(pairing.pairs) < _FEWEST_PAIRED * min(len(images), len(masks)):
        return None
    return _with_sides(_without_unpaired_test(pairing))


def _classified(path: str) -> _File:
    *folders, name = path.split("/")
    part: Part = ""
    role: Role | None = None
    rest: list[str] = []
    for folder in folders:
        folder_part, folder_role = _folder_meaning(folder)
        part, role = folder_part or part, folder_role or role
        if not (folder_part or folder_role):
            rest.append(folder)
    return _File(path, part, role, "/".join([*rest, os.path.splitext(name)[0]]))


def folder_role(path: str) -> Role | None:
    """The role of a file according to its folders: images/0013.png, masks/0013.png; None if they give none."""
    return _classified(path).role


def mask_ending(stem: str) -> str | None:
    """The ending that marks a mask, with its separator: '_mask' of '0013_mask'. None without one."""
    match = _MASK_ENDING.match(stem)
    return None if match is None else stem[len(match["id"]) :]


@cache
def _folder_meaning(folder: str) -> tuple[Part, Role | None]:
    """The part of the split and the role that a folder's name stands for: 'train_masks' for both, 'x' for neither."""
    name = folder.lower()
    if name in _ROLES:
        return "", _ROLES[name]
    joined = re.fullmatch(rf"({'|'.join(SIDES)})(annot|masks?|labels?|images?)", name)
    words = list(joined.groups()) if joined else [word for word in re.split(r"[ _.-]", name) if word]
    words = [word for word in words if word not in _FILLERS]
    parts = [SIDES[word] for word in words if word in SIDES]
    roles = [_ROLES[word] for word in words if word in _ROLES]
    if parts and words[0] in SIDES:
        return parts[0], roles[-1] if roles else None  # train, train_50, train_masks
    if roles and len(parts) + len(roles) == len(words):
        return parts[0] if parts else "", roles[-1]  # masks_train, img_dir
    return "", None


_Keyed = dict[Key, list[str]]
_Candidates = tuple[_Keyed, _Keyed, list[str]]


def _by_folders(files: list[_File]) -> _Candidates:
    notes = []
    named = any(file.role == "image" for file in files)
    images = [file for file in files if file.role == ("image" if named else None)]
    masks = [file for file in files if file.role == "mask"]
    others = len(files) - len(images) - len(masks)
    if others:
        notes.append(f"{others} images outside the folders of images and masks were skipped")
    plain = _keyed(images), _keyed(masks)
    if len(plain[0].keys() & plain[1].keys()) < _FEWEST_PAIRED * min(len(plain[0]), len(plain[1])):
        ended, ending = _same_ending(images, masks)  # 0013.jpg or 0013_sat.jpg, and 0013_mask.png
        if ended is not None:
            return (*ended, [*notes, ending])
    return (*plain, notes)


def _by_endings(files: list[_File]) -> tuple[_Candidates | None, str]:
    masks = [file for file in files if _MASK_ENDING.match(file.rest)]
    others = [file for file in files if not _MASK_ENDING.match(file.rest)]
    ended, ending = _same_ending(others, masks)
    return (None if ended is None else (*ended, [])), f"one folder, {ending}"


def _same_ending(images: list[_File], masks: list[_File]) -> tuple[tuple[_Keyed, _Keyed] | None, str]:
    """Images and masks keyed by their names without endings, and the endings in words.

    The ending of the images is the one that pairs most of them; images with other endings are not part of the set.
    """
    keyed_masks: _Keyed = defaultdict(list)
    endings: Counter[str] = Counter()
    for file in masks:
        match = _MASK_ENDING.match(file.rest)
        if match:
            keyed_masks[file.part, match["id"]].append(file.path)
            endings[file.rest[len(match["id"]) :]] += 1
    if not keyed_masks:
        return None, ""
    candidates: dict[str, _Keyed] = defaultdict(lambda: defaultdict(list))
    for file in images:
        for name, ending in _possible_endings(file.rest):
            if (file.part, name) in keyed_masks:
                candidates[ending][file.part, name].append(file.path)
    if not candidates:
        return None, ""
    best = max(candidates, key=lambda ending: (len(candidates[ending]), -len(ending)))
    for file in images:  # also those that have no mask
        for name, ending in _possible_endings(file.rest):
            if ending == best and (file.part, name) not in keyed_masks:
                candidates[best][file.part, name].append(file.path)
    image_ending = f"'{best}'" if best else "no ending"
    return (candidates[best], keyed_masks), f"images with {image_ending}, masks with '{endings.most_common(1)[0][0]}'"


def _possible_endings(rest: str) -> Iterator[tuple[str, str]]:
    yield rest, ""
    for match in re.finditer(r"[ _.-]", rest):
        if match.start() > 0 and "/" not in rest[match.start() :] and rest[match.start() - 1] != "/":
            yield rest[: match.start()], rest[match.start() :]


def _by_patterns(files: list[_File], image_pattern: str | None, mask_pattern: str | None, root: Path) -> _Candidates:
    if image_pattern is None or mask_pattern is None:
        raise UserError("data.image_pattern and data.mask_pattern belong together: set both, or neither.")
    keyed_files: list[_Keyed] = []
    for key, text in (("image_pattern", image_pattern), ("mask_pattern", mask_pattern)):
        pattern = re.compile(text)
        if pattern.groups != 1:
            raise UserError(
                f"data.{key}={text}: it needs exactly one pair of parentheses around what an image and its mask have "
                r"in common, as in '(.+)_mask\.png'."
            )
        keyed: _Keyed = defaultdict(list)
        for file in files:
            match = pattern.fullmatch(PurePosixPath(file.path).name) or pattern.fullmatch(file.path)
            if match:
                keyed[file.part, match[1]].append(file.path)
        if not keyed:
            example = f" The first file there is '{files[0].path}'." if files else ""
            raise UserError(f"data.{key}={text}: no file below {root} has such a name.{example}")
        keyed_files.append(keyed)
    return keyed_files[0], keyed_files[1], []


def _keyed(files: Iterable[_File]) -> _Keyed:
    keyed: _Keyed = defaultdict(list)
    for file in files:
        keyed[file.part, file.rest].append(file.path)
    return keyed


def _matched(images: _Keyed, masks: _Keyed, layout: str, notes: list[str]) -> Pairing:
    pairs: list[Pair] = []
    unpaired: list[Unreadable] = []
    for key in sorted(images.keys() | masks.keys()):
        image_paths, mask_paths = sorted(images.get(key, [])), sorted(masks.get(key, []))
        if len(image_paths) == 1 and len(mask_paths) == 1:
            pairs.append(Pair(image_paths[0], mask_paths[0], "unknown"))
        elif not mask_paths:
            unpaired += [Unreadable(path, "an image with no mask") for path in image_paths]
        elif not image_paths:
            unpaired += [Unreadable(path, "a mask with no image") for path in mask_paths]
        else:
            duplicates = f"{len(mask_paths)} masks" if len(mask_paths) > 1 else counted(len(image_paths), "image")
            listed = ", ".join((mask_paths if len(mask_paths) > 1 else image_paths)[:_MOST_LISTED])
            unpaired.append(Unreadable(image_paths[0], f"{duplicates} with the same name: {listed}"))
    return Pairing(layout, tuple(sorted(pairs, key=lambda pair: pair.image)), tuple(unpaired), tuple(notes))


def _without_unpaired_test(pairing: Pairing) -> Pairing:
    """The pairing without a test/ that has no pairs at all, as in a competition with hidden masks."""
    if any(_classified(pair.image).part == "test" for pair in pairing.pairs):
        return pairing
    unpaired = tuple(entry for entry in pairing.unpaired if _classified(entry.path).part != "test")
    dropped = len(pairing.unpaired) - len(unpaired)
    note = (f"{dropped} images of the test part, which has no pairs, were skipped",) if dropped else ()
    return replace(pairing, unpaired=unpaired, notes=(*pairing.notes, *note))


def _with_sides(pairing: Pairing) -> Pairing:
    """Pairs split by train/, val/ and test/; without a val/, test/ is used for validation; else the split is drawn."""
    parts = {_classified(pair.image).part for pair in pairing.pairs}
    notes = list(pairing.notes)
    scored = "validation" if "validation" in parts else "test"
    if "train" not in parts or scored not in parts:
        if parts - {""}:
            notes.append(
                f"there is only {' and '.join(sorted(parts - {''}))}, which is split into training and validation"
            )
        return replace(pairing, notes=tuple(notes))
    pairs = []
    for pair in pairing.pairs:
        part = _classified(pair.image).part
        if part:
            pairs.append(replace(pair, side="validation" if part == scored else part))
    if "" in parts:
        notes.append("images outside the folders of the split were skipped")
    unpaired = tuple(entry for entry in pairing.unpaired if _classified(entry.path).part in {"train", scored})
    unscored = [entry for entry in pairing.unpaired if _classified(entry.path).part not in {"", "train", scored}]
    if unscored:
        first = unscored[0]
        notes.append(
            f"{counted(len(unscored), 'file')} of the test part not scored, such as {first.path}: {first.reason}"
        )
    layout = f"{pairing.layout}, split by folders"
    return Pairing(layout, tuple(pairs), unpaired, tuple(notes))
