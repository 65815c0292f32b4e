"""What inflates scores: images or groups on both sides of the split, and frames of one video."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from snellen.data.listing import LabelledImage, Side
from snellen.data.neighbours import neighbours_look_alike
from snellen.words import counted


def leak_notes(images: list[LabelledImage], sides: list[Side], hashes: list[str]) -> list[str]:
    """Notes on images and groups on both sides of the split, and on duplicate images or classes."""
    notes = []
    for part, other_sides in (("validation", ("train",)), ("test", ("train", "validation"))):
        earlier = {digest for digest, side in zip(hashes, sides, strict=True) if side in other_sides}
        leaked = [
            image.path
            for image, digest, side in zip(images, hashes, sides, strict=True)
            if side == part and digest in earlier
        ]
        if leaked:
            copies = counted(len(leaked), f"{part} image is", f"{part} images are")
            names = " or the ".join("training" if name == "train" else name for name in other_sides)
            notes.append(f"{copies} also among the {names} images, such as {leaked[0]}")
    train, validation, test = (_groups(images, sides, part) for part in ("train", "validation", "test"))
    across = (train & (validation | test)) | (validation & test)
    if across:
        notes.append(
            f"{counted(len(across), 'group has', 'groups have')} images on both sides of the split, such as "
            f"'{min(across)}'"
        )
    notes += _clashes([image.label for image in images], hashes)
    folded = Counter(label.casefold() for label in {image.label for image in images})
    notes += [f"classes that differ only in case: '{name}'" for name, count in folded.items() if count > 1]
    return notes


def _groups(images: list[LabelledImage], sides: list[Side], part: str) -> set[str]:
    return {image.group for image, side in zip(images, sides, strict=True) if side == part and image.group is not None}


def neighbour_notes(root: Path, images: Iterable[LabelledImage]) -> list[str]:
    """A note if the images look like frames of one video."""
    if not neighbours_look_alike(root, [image.path for image in images]):
        return []
    return [
        "images with consecutive numbers look alike, as frames of one video do; a split between them inflates the "
        "scores. If they belong together, set data.group"
    ]


def repeat_notes(labels: Sequence[str], hashes: Sequence[str]) -> list[str]:
    """Notes on images that several files contain, each of which is scored."""
    repeats = len(hashes) - len(set(hashes))
    if not repeats:
        return []
    note = (
        f"{counted(repeats, 'file is a copy', 'files are copies')} of another one; each is scored, so that "
        "the intervals are too narrow"
    )
    return [note, *_clashes(labels, hashes)]


def _clashes(labels: Sequence[str], hashes: Sequence[str]) -> list[str]:
    by_content: dict[str, set[str]] = {}
    for label, digest in zip(labels, hashes, strict=True):
        by_content.setdefault(digest, set()).add(label)
    clashing = sum(len(names) > 1 for names in by_content.values())
    return [f"{counted(clashing, 'image appears', 'images appear')} under two classes"] if clashing else []
