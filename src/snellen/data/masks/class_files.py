"""Class tables as files: classes.txt and CSV, as people write them."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from pydantic import ValidationError

from snellen.data.masks.classes import LAND_COVER_CLASSES, MaskClass, Rgb
from snellen.errors import UserError

BUILT_IN = {"land-cover": LAND_COVER_CLASSES}
FILE_NAMES = (
    *("classes.txt", "classes.csv", "class_dict.csv", "class_table.csv", "labels.txt", "labels.csv"),
    *("label_colors.txt", "labelmap.txt", "codes.txt"),
)
_NAME = ("name", "class", "class_name", "label", "category")
_VALUE = ("index", "value", "id", "class_id", "label_id", "number")
_COLOUR = ("colour", "color", "rgb", "hex")
_IGNORED = ("ignored", "ignore", "void")
_CHANNELS = (("r", "red"), ("g", "green"), ("b", "blue"))
_YES = frozenset({"1", "true", "yes", "ignored", "ignore", "x"})
_NO = frozenset({"", "0", "false", "no", "-"})


def read_class_file(path: Path) -> list[MaskClass]:
    """The lines of a class table.

    A CSV with a header: name; index; r, g, b or colour; ignored (true or false). Or a text with a class in each line:
    its name, its index before it ('0 sky', 'sky,0'), or its colour before or behind it ('128 0 64 sky',
    'sky:128,0,64', 'sky #800040'), and 'ignored' at the end where it is not scored. Lines that open with '# ' are
    comments. Raises UserError, with the line, for anything else.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"data.class_table={path}: no such file, nor one of {', '.join(BUILT_IN)}.") from None
    except (OSError, UnicodeDecodeError):
        raise UserError(f"{path}: not a text file in UTF-8.") from None
    lines = [
        (number, line.strip())
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip() and not re.match(r"\s*#(\s|$)", line)
    ]
    if not lines:
        raise UserError(f"{path}: no classes. Wanted one in each line, such as '0 sky' or 'sky,128,0,64'.")
    header = [word.strip().lower() for word in re.split(r"[,;\t]", lines[0][1])]
    if set(header) & set(_NAME) and len(header) > 1:
        return _from_csv(path, lines)
    return [_from_line(line, f"{path}, line {number}") for number, line in lines]


def _from_csv(path: Path, lines: list[tuple[int, str]]) -> list[MaskClass]:
    separator = next(mark for mark in ",;\t" if mark in lines[0][1])
    rows = csv.reader([line for _, line in lines], delimiter=separator, skipinitialspace=True)
    header = [word.strip().lower() for word in next(rows)]

    def column(names: tuple[str, ...]) -> int | None:
        return next((header.index(name) for name in names if name in header), None)

    name, value, colour, ignored = (column(names) for names in (_NAME, _VALUE, _COLOUR, _IGNORED))
    channels = [column(names) for names in _CHANNELS]
    entries = []
    for (number, _), row in zip(lines[1:], rows, strict=True):
        place = f"{path}, line {number}"
        cells = [cell.strip() for cell in row] + [""] * (len(header) - len(row))
        flag = "" if ignored is None else cells[ignored].lower()
        if flag not in _YES | _NO:
            raise UserError(f"{place}: ignored='{cells[ignored or 0]}'; wanted true or false.")
        parts = [cells[channel] for channel in channels if channel is not None]
        if len(parts) != 3 and colour is not None:
            parts = _colour_words(cells[colour])
        index = cells[value] if value is not None else ""
        assert name is not None
        entries.append(_entry(cells[name], index, parts, True if flag in _YES else None, place))
    return entries


def _from_line(line: str, place: str) -> MaskClass:
    words = [word for word in re.split(r"[\s,;:]+", line) if word]
    ignored = True if len(words) > 1 and words[-1].lower() in {"ignored", "ignore"} else None
    if ignored:
        words = words[:-1]
    colour = next((_colour_words(word) for word in words if re.fullmatch(r"#[0-9a-fA-F]{6}", word)), [])
    words = [word for word in words if not re.fullmatch(r"#[0-9a-fA-F]{6}", word)]
    leading = next((n for n, word in enumerate(words) if not word.isdecimal()), len(words))
    trailing = next((n for n, word in enumerate(reversed(words)) if not word.isdecimal()), 0)
    before, name, after = words[:leading], words[leading : len(words) - trailing], words[len(words) - trailing :]
    if len(after) not in {3, 4} and not (len(after) == 1 and not before and re.search(r"[,;:\t]\s*\d+\s*$", line)):
        name, after = name + after, []  # 'class 1' is a name
    numbers = before + after
    if len(numbers) not in {0, 1, 3, 4} or (colour and len(numbers) > 1):
        raise UserError(f"{place}: '{line}': wanted a name with an index, a colour (three numbers), or both.")
    if len(numbers) >= 3:
        colour = after if len(after) == 3 else numbers[-3:]
    value = before[0] if len(before) in {1, 4} else after[0] if len(after) in {1, 4} else ""
    return _entry(" ".join(name), value, colour, ignored, place)


def _colour_words(text: str) -> list[str]:
    match = re.fullmatch(r"#?([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})", text.strip())
    if match:
        return [str(int(part, 16)) for part in match.groups()]
    return re.findall(r"\d+", text)


def _entry(name: str, value: str, colour: list[str], ignored: bool | None, place: str) -> MaskClass:
    if not name:
        raise UserError(f"{place}: the class has no name.")
    given = [part for part in colour if part != ""]
    if len(given) not in {0, 3}:
        raise UserError(f"{place}: a colour is three numbers of 0 to 255, or #rrggbb; given: {' '.join(colour)}")
    try:
        red, green, blue = map(int, given or ("0", "0", "0"))
        rgb: Rgb | None = (red, green, blue) if given else None
        return MaskClass(name=name, value=int(value) if value else None, colour=rgb, ignored=ignored)
    except (ValueError, ValidationError):
        raise UserError(
            f"{place}: wanted an index of 0 to 65535 and a colour of three numbers of 0 to 255; "
            f"given: {value or 'no index'}, {' '.join(colour) or 'no colour'}"
        ) from None
