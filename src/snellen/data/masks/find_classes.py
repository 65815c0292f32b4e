"""Which classes a set of masks has: from the recipe, a table beside the images, known colours, or the values there."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from snellen.data.cache import bounded_map
from snellen.data.decode import UnreadableImageError
from snellen.data.masks.class_files import BUILT_IN, FILE_NAMES, read_class_file
from snellen.data.masks.classes import (
    IGNORE,
    LAND_COVER,
    MOST_CLASSES,
    ClassTable,
    Coding,
    MaskClass,
    Rgb,
    build_table,
    entry_values,
    rgb_text,
)
from snellen.data.masks.decode import between, binarised, open_mask, packed, unpacked
from snellen.errors import UserError

BLACK_AND_WHITE_NAMES = ("0", "255")
_LOOKED_AT = 48  # masks, where a few tell as much as all
_MOST_COLOURS = 4096  # counted in one mask
_LAND_COVER_SHARE = 0.99  # of a mask's pixels
_JPEG_PLAIN = 0.75  # of these, near enough to pure colours in a JPEG
_LAND_COVER_MASKS = 2 / 3  # of the masks; what the others hold is told when they are decoded


@dataclass
class _Seen:
    """What a number of masks hold. values: of masks without colour. colours: pixels of each packed colour."""

    values: set[int] = field(default_factory=set)
    colours: dict[int, int] = field(default_factory=dict)
    palettes: dict[int, Rgb] = field(default_factory=dict)
    coloured: Path | None = None  # one that is no grey
    jpeg: Path | None = None
    masks: int = 0
    land_cover: int = 0  # how many of them fit its colours
    hued: bool = False  # whether any of these is more than black and white


@dataclass(frozen=True)
class _Contents:
    """The same of one mask. coloured: whether it is no grey. palette: the colours of the indices that occur."""

    jpeg: bool
    coloured: bool
    values: set[int]
    colours: dict[int, int]
    palette: dict[int, Rgb]


def find_classes(
    masks: Sequence[Path], entries: Sequence[MaskClass], table: str | None, folders: Sequence[Path]
) -> tuple[ClassTable, list[str]]:
    """The class table of these masks, and notes for people.

    entries: lines given by the recipe. table: a file, or the name of a built-in table. folders: where a table may lie
    under one of its usual names. Raises UserError where the masks do not say what their classes are.
    """
    entries, source = given_entries(entries, table, folders)
    sample = masks[:: max(1, len(masks) // _LOOKED_AT)]
    if entries:
        if table in BUILT_IN:
            return build_table(entries, "binarised", source), []
        seen = _look(sample)
        entries, coding = _spelling(entries, seen)
        return build_table(entries, coding, source), [f"classes from {source}"]
    seen = _look(sample)
    if seen.hued and seen.land_cover >= _LAND_COVER_MASKS * seen.masks:
        return LAND_COVER, ["the masks' colours are those of land cover; for other classes give data.class_table"]
    if seen.coloured is not None:
        raise UserError(_unknown_colours(seen))
    return _named_by_value(_look(masks) if len(sample) < len(masks) else seen)


def given_entries(
    entries: Sequence[MaskClass], table: str | None, folders: Sequence[Path]
) -> tuple[Sequence[MaskClass], str]:
    """The lines of a class table that the recipe or a file gives, and where they are from; none where none is given."""
    if entries and table is not None:
        raise UserError("data.classes and data.class_table say the same thing; give one of them.")
    if entries:
        return entries, "data.classes"
    if table is not None:
        return (BUILT_IN[table], table) if table in BUILT_IN else (read_class_file(Path(table)), table)
    found = [folder / name for folder in folders for name in FILE_NAMES if (folder / name).is_file()]
    if len(found) > 1:
        raise UserError(f"several class tables ({', '.join(map(str, found))}). Name one: data.class_table=FILE")
    return (read_class_file(found[0]), str(found[0])) if found else ((), "")


def _look(masks: Sequence[Path]) -> _Seen:
    """What the masks hold; those that cannot be read are passed over, decoding will tell."""
    seen = _Seen()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, found in zip(masks, bounded_map(pool, _contents, masks), strict=True):
            if found is None:
                continue
            seen.masks += 1
            if _fits_land_cover(found.colours, found.jpeg):
                seen.land_cover += 1
                seen.hued |= _has_hue(found.colours)
            if found.jpeg:
                seen.jpeg = path
            if found.coloured:
                seen.coloured = path
            seen.values |= found.values
            seen.palettes |= found.palette
            for colour, count in found.colours.items():
                seen.colours[colour] = seen.colours.get(colour, 0) + count
    return seen


def _contents(path: Path) -> _Contents | None:
    try:
        pixels = open_mask(path)
    except UnreadableImageError:
        return None
    values: dict[int, int] = {}
    if pixels.values is not None:
        found, counts = np.unique(pixels.values, return_counts=True)
        values = dict(zip(found.tolist(), counts.tolist(), strict=True))
    palette = dict(enumerate(map(_rgb, pixels.palette))) if pixels.mode == "P" else {}
    palette = {value: colour for value, colour in palette.items() if value in values}
    if pixels.values is None:
        numbers, counts = np.unique(packed(pixels.colours), return_counts=True)
        common = np.argsort(-counts)[:_MOST_COLOURS]
        colours = dict(zip(numbers[common].tolist(), counts[common].tolist(), strict=True))
    elif pixels.mode == "P":
        colours = Counter[int]()
        for value, colour in palette.items():
            colours[int(packed(np.array(colour, dtype=np.uint8)))] += values[value]
    else:
        white = 255 if pixels.mode == "1" else 1
        colours = {value * white * 0x010101: count for value, count in values.items() if value <= 255}
    return _Contents(pixels.jpeg, pixels.values is None, set(values), colours, palette)


def _spelling(entries: Sequence[MaskClass], seen: _Seen) -> tuple[Sequence[MaskClass], Coding]:
    """How masks spell the classes of a table; of two classes without numbers, black and white masks are understood."""
    values = set(entry_values(entries))
    told = any(entry.value is not None for entry in entries)
    colours = {entry.colour for entry in entries if entry.colour is not None}
    if seen.coloured is not None:
        return entries, "colour"
    fits = seen.colours and all(_unpacked(number) in colours for number in seen.colours)
    if fits and not (told and seen.values <= values):
        return entries, "colour"
    two = len(entries) == 2 and not any(entry.is_ignored for entry in entries)
    if two and not colours and IGNORE not in values and _is_black_and_white(seen):
        black, white = sorted(entries, key=lambda entry: entry.value or 0)  # without values, in their order
        spelled = (black.model_copy(update={"colour": (0, 0, 0)}), white.model_copy(update={"colour": (255,) * 3}))
        return spelled, "binarised"
    return entries, "index"


def _fits_land_cover(colours: dict[int, int], jpeg: bool) -> bool:
    """Whether nearly all pixels of a mask are of land-cover colours; in a JPEG, those that are not blurred."""
    found = unpacked(np.array(list(colours), dtype=np.int32))
    counts = np.array(list(colours.values()), dtype=np.float64)
    known = {colour for colour, _ in LAND_COVER.keys}
    fits = np.array([_rgb(colour) in known for colour in binarised(found)], dtype=bool)
    least = _LAND_COVER_SHARE * counts.sum()
    return bool(counts[fits].sum() >= least and counts[~between(found)].sum() >= (_JPEG_PLAIN if jpeg else 1) * least)


def _has_hue(colours: dict[int, int]) -> bool:
    """Whether any pixel, binarised, is neither black nor white: those two could be any two classes."""
    pure = binarised(unpacked(np.array(list(colours), dtype=np.int32)))
    return bool((pure != pure[:, :1]).any())


def _named_by_value(seen: _Seen) -> tuple[ClassTable, list[str]]:
    if _is_black_and_white(seen):
        black, white = BLACK_AND_WHITE_NAMES
        entries = [MaskClass(name=black, colour=(0, 0, 0)), MaskClass(name=white, colour=(255, 255, 255))]
        note = "the masks are black and white, taken as classes '0' and '255'; to name them give data.class_table"
        return build_table(entries, "binarised", "the masks"), [note]
    if seen.jpeg is not None:
        raise UserError(
            f"{seen.jpeg}: a grey JPEG mask, whose compression mixes up class numbers. Save masks as PNG; or, if their "
            "grey levels are far apart, give the colours of the classes in data.class_table."
        )
    values = sorted(seen.values - {IGNORE})
    if not values:
        raise UserError("the masks hold nothing but 255, which is not scored, or none could be read.")
    if len(values) > MOST_CLASSES:
        raise UserError(
            f"the masks hold {len(values)} different values, {values[0]} to {values[-1]}; at most {MOST_CLASSES} "
            "classes are possible. If only some of them matter, list those in data.class_table."
        )
    entries = [MaskClass(name=str(value), value=value, colour=seen.palettes.get(value)) for value in values]
    shown = ", ".join(map(str, values[:12])) + (" …" if len(values) > 12 else "")
    notes = [f"no class table: classes are named by their values, {shown}; to name them give data.class_table"]
    if IGNORE in seen.values:
        notes.append("pixels of value 255 are not scored, as is usual; to score them give them a class")
    return build_table(entries, "index", "the masks"), notes


def _is_black_and_white(seen: _Seen) -> bool:
    """Whether the masks hold 0 and 255 and nothing else; of JPEGs, nothing far from these."""
    if seen.jpeg is None:
        return seen.values == {0, IGNORE}
    return max(seen.values) >= 128 and not between(np.array([[value] for value in seen.values])).any()


def _unknown_colours(seen: _Seen) -> str:
    common = sorted(seen.colours, key=lambda number: -seen.colours[number])
    lines = "\n".join(f"class{place},{rgb_text(_unpacked(number))}" for place, number in enumerate(common[:12]))
    more = f"\n… and {len(common) - 12:,} more colours" if len(common) > 12 else ""
    return (
        f"{seen.coloured}: a colour mask, and no class table says what its colours mean. Write one, classes.txt beside "
        f"the images, or name it with data.class_table. The colours found, commonest first:\n{lines}{more}"
    )


def _unpacked(number: int) -> Rgb:
    return number >> 16, (number >> 8) & 255, number & 255


def _rgb(colour: NDArray[np.uint8]) -> Rgb:
    red, green, blue = map(int, colour)
    return red, green, blue
