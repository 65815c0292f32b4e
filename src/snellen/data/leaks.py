"""What inflates scores: images or groups on both sides of the split, and frames of one video."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from snellen.data.decode import UnreadableImageError, decode
from snellen.data.depth import measure_depth
from snellen.data.listing import LabelledImage, Side
from snellen.words import counted

_PAIRS = 60
_MUCH_NEARER = 0.35


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


def neighbours_look_alike(root: Path, paths: list[str]) -> bool:
    """Whether the median distance of consecutive thumbnails is far below that of random pairs from the same folder.

    Compares up to 60 pairs of images, determined by the order of the paths.
    """
    numbered: dict[tuple[str, int], str] = {}
    for path in paths:
        match = re.fullmatch(r"(.*?)(\d+)(\.\w+)", path)
        if match:
            numbered[match[1] + match[3], int(match[2])] = path
    pairs = [
        (path, numbered[stem, number + 1])
        for (stem, number), path in numbered.items()
        if (stem, number + 1) in numbered
    ]
    if len(pairs) < 10:
        return False
    pairs = pairs[:: max(1, len(pairs) // _PAIRS)][:_PAIRS]
    bits = measure_depth(sorted({root / path for pair in pairs for path in pair})).bits
    near, far = [], []
    by_folder: dict[str, list[str]] = {}
    for path in paths:
        by_folder.setdefault(path.rpartition("/")[0], []).append(path)
    generator = np.random.default_rng(0)
    for first, second in pairs:
        folder = by_folder[first.rpartition("/")[0]]
        other = folder[int(generator.integers(len(folder)))]
        images = (_thumbnail(root / path, bits) for path in (first, second, other))
        thumbnails = [image for image in images if image is not None]
        if len(thumbnails) < 3 or other == first:
            continue
        here, beside, elsewhere = thumbnails
        near.append(float(np.abs(here - beside).mean()))
        far.append(float(np.abs(here - elsewhere).mean()))
    return len(near) >= 10 and float(np.median(near)) < _MUCH_NEARER * float(np.median(far))


def _thumbnail(path: Path, bits: int) -> NDArray[np.float64] | None:
    try:
        image = Image.fromarray(decode(path, 32, bits=bits).permute(1, 2, 0).contiguous().numpy())
    except UnreadableImageError:
        return None  # reported when it is decoded
    return np.asarray(image.convert("L").resize((16, 16), Image.Resampling.BOX), dtype=np.float64)
