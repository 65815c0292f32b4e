"""Classes of a set of masks: from the recipe, a table next to the images, known colours, or the masks' values."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from snellen.data.bounded import bounded_map
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
_SAMPLED_MASKS = 48  # where a sample tells as much as all masks
_MOST_COLOURS = 4096  # counted in one mask
_LAND_COVER_SHARE = 0.99  # of a mask's pixels
_JPEG_PLAIN = 0.75  # of these, the share near pure colours in a JPEG
_LAND_COVER_MASKS = 2 / 3  # of the masks; stray colours of the others are reported when they are decoded


@dataclass
class _Summary:
    """The contents of several masks. values: of masks without colour. colours: number of pixels by packed colour."""

    values: set[int] = field(default_factory=set)
    colours: Counter[int] = field(default_factory=Counter)
    palettes: dict[int, Rgb] = field(default_factory=dict)
    coloured: Path | None = None  # one that is not grey
    jpeg: Path | None = None
    masks: int = 0
    land_cover: int = 0  # number of masks that match its colours
    hued: bool = False  # whether any of these has more than black and white


@dataclass(frozen=True)
class _Contents:
    """The same for one mask. coloured: whether it is not grey. palette: the colours of the indices that occur."""

    jpeg: bool
    coloured: bool
    values: set[int]
    colours: dict[int, int]
    palette: dict[int, Rgb]


def find_classes(
    masks: Sequence[Path], entries: Sequence[MaskClass], table: str | None, folders: Sequence[Path]
) -> tuple[ClassTable, list[str]]:
    """The class table of these masks, and notes for people.

    entries: lines from the recipe. table: a file, or the name of a built-in table. folders: where a table may be, under
    one of the usual names. Raises UserError if the classes cannot be determined.
    """
    entries, source = given_entries(entries, table, folders)
    sample = masks[:: max(1, len(masks) // _SAMPLED_MASKS)]
    if entries:
        if table in BUILT_IN:
            return build_table(entries, "binarised", source), []
        summary = _summarise(sample)
        entries, coding = _encoding(entries, summary)
        return build_table(entries, coding, source), [f"classes from {source}"]
    summary = _summarise(sample)
    if summary.hued and summary.land_cover >= _LAND_COVER_MASKS * summary.masks:
        return LAND_COVER, ["the masks have land-cover colours; for other classes set data.class_table"]
    if summary.coloured is not None:
        raise UserError(_unknown_colours(summary))
    return _named_by_value(_summarise(masks) if len(sample) < len(masks) else summary)


def given_entries(
    entries: Sequence[MaskClass], table: str | None, folders: Sequence[Path]
) -> tuple[Sequence[MaskClass], str]:
    """The lines of the class table in the recipe or a file, and their source; no lines if there is no table."""
    if entries and table is not None:
        raise UserError("data.classes and data.class_table both define the classes; set only one of them.")
    if entries:
        return entries, "data.classes"
    if table is not None:
        return (BUILT_IN[table], table) if table in BUILT_IN else (read_class_file(Path(table)), table)
    files = [folder / name for folder in folders for name in FILE_NAMES if (folder / name).is_file()]
    if len(files) > 1:
        raise UserError(f"several class tables ({', '.join(map(str, files))}). Choose one: data.class_table=FILE")
    return (read_class_file(files[0]), str(files[0])) if files else ((), "")


def _summarise(masks: Sequence[Path]) -> _Summary:
    """The contents of the masks; unreadable ones are skipped, since decoding reports them."""
    summary = _Summary()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, contents in zip(masks, bounded_map(pool, _contents, masks), strict=True):
            if contents is None:
                continue
            summary.masks += 1
            if _fits_land_cover(contents.colours, contents.jpeg):
                summary.land_cover += 1
                summary.hued |= _has_hue(contents.colours)
            if contents.jpeg:
                summary.jpeg = path
            if contents.coloured:
                summary.coloured = path
            summary.values |= contents.values
            summary.palettes |= contents.palette
            summary.colours.update(contents.colours)
    return summary


def _contents(path: Path) -> _Contents | None:
    try:
        pixels = open_mask(path)
    except UnreadableImageError:
        return None
    values: dict[int, int] = {}
    if pixels.values is not None:
        unique, counts = np.unique(pixels.values, return_counts=True)
        values = dict(zip(unique.tolist(), counts.tolist(), strict=True))
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


def _encoding(entries: Sequence[MaskClass], summary: _Summary) -> tuple[Sequence[MaskClass], Coding]:
    """How masks encode the classes of a table; two classes without numbers may be black and white in the masks."""
    values = set(entry_values(entries))
    has_values = any(entry.value is not None for entry in entries)
    colours = {entry.colour for entry in entries if entry.colour is not None}
    if summary.coloured is not None:
        return entries, "colour"
    fits = summary.colours and all(_unpacked(number) in colours for number in summary.colours)
    if fits and not (has_values and summary.values <= values):
        return entries, "colour"
    is_binary = len(entries) == 2 and not any(entry.is_ignored for entry in entries)
    if is_binary and not colours and IGNORE not in values and _is_black_and_white(summary):
        black, white = sorted(entries, key=lambda entry: entry.value or 0)  # without values, in their order
        coloured = (black.model_copy(update={"colour": (0, 0, 0)}), white.model_copy(update={"colour": (255,) * 3}))
        return coloured, "binarised"
    return entries, "index"


def _fits_land_cover(colours: dict[int, int], jpeg: bool) -> bool:
    """Whether nearly all pixels of a mask have land-cover colours; in a JPEG, blurred ones excepted."""
    unique = unpacked(np.array(list(colours), dtype=np.int32))
    counts = np.array(list(colours.values()), dtype=np.float64)
    land_cover = {colour for colour, _ in LAND_COVER.keys}
    fits = np.array([_rgb(colour) in land_cover for colour in binarised(unique)], dtype=bool)
    threshold = _LAND_COVER_SHARE * counts.sum()
    return bool(
        counts[fits].sum() >= threshold and counts[~between(unique)].sum() >= (_JPEG_PLAIN if jpeg else 1) * threshold
    )


def _has_hue(colours: dict[int, int]) -> bool:
    """Whether any pixel, binarised, is neither black nor white, which could be any two classes."""
    pure = binarised(unpacked(np.array(list(colours), dtype=np.int32)))
    return bool((pure != pure[:, :1]).any())


def _named_by_value(summary: _Summary) -> tuple[ClassTable, list[str]]:
    if _is_black_and_white(summary):
        black, white = BLACK_AND_WHITE_NAMES
        entries = [MaskClass(name=black, colour=(0, 0, 0)), MaskClass(name=white, colour=(255, 255, 255))]
        note = "the masks are black and white and read as classes '0' and '255'; to name them set data.class_table"
        return build_table(entries, "binarised", "the masks"), [note]
    if summary.jpeg is not None:
        raise UserError(
            f"{summary.jpeg}: a grey JPEG mask, whose compression corrupts class numbers. Save masks as PNG; or, if "
            "their grey levels are far apart, list the colours of the classes in data.class_table."
        )
    values = sorted(summary.values - {IGNORE})
    if not values:
        raise UserError("the masks contain only 255, which is not scored, or none could be read.")
    if len(values) > MOST_CLASSES:
        raise UserError(
            f"the masks contain {len(values)} different values, {values[0]} to {values[-1]}; at most {MOST_CLASSES} "
            "classes are possible. If only some of them matter, list those in data.class_table."
        )
    entries = [MaskClass(name=str(value), value=value, colour=summary.palettes.get(value)) for value in values]
    listed = ", ".join(map(str, values[:12])) + (" …" if len(values) > 12 else "")
    notes = [f"no class table: classes are named by their values, {listed}; to name them set data.class_table"]
    if IGNORE in summary.values:
        notes.append("pixels with value 255 are not scored, as is usual; to score them define a class for them")
    return build_table(entries, "index", "the masks"), notes


def _is_black_and_white(summary: _Summary) -> bool:
    """Whether the masks contain only 0 and 255; in JPEGs, only values near these."""
    if summary.jpeg is None:
        return summary.values == {0, IGNORE}
    return max(summary.values) >= 128 and not between(np.array([[value] for value in summary.values])).any()


def _unknown_colours(summary: _Summary) -> str:
    common = sorted(summary.colours, key=lambda number: -summary.colours[number])
    lines = "\n".join(f"class{index},{rgb_text(_unpacked(number))}" for index, number in enumerate(common[:12]))
    rest = f"\n… and {len(common) - 12:,} more colours" if len(common) > 12 else ""
    return (
        f"{summary.coloured}: a colour mask, but there is no class table for its colours. Write one as classes.txt "
        f"next to the images, or set data.class_table. The colours found, most common first:\n{lines}{rest}"
    )


def _unpacked(number: int) -> Rgb:
    return number >> 16, (number >> 8) & 255, number & 255


def _rgb(colour: NDArray[np.uint8]) -> Rgb:
    red, green, blue = map(int, colour)
    return red, green, blue
