"""Class tables in files: classes.txt and CSV, in the formats that are in common use."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from pydantic import ValidationError

from snellen.data.masks.classes import LAND_COVER_CLASSES, MaskClass, Rgb
from snellen.errors import UserError

BUILT_IN = {"land-cover": LAND_COVER_CLASSES}
FILE_NAMES = (
    "classes.txt",
    "classes.csv",
    "class_dict.csv",
    "class_table.csv",
    "labels.txt",
    "labels.csv",
    "label_colors.txt",
    "labelmap.txt",
    "codes.txt",
)
_NAME = ("name", "class", "class_name", "label", "category")
_VALUE = ("index", "value", "id", "class_id", "label_id", "number")
_COLOUR = ("colour", "color", "rgb", "hex")
_IGNORED = ("ignored", "ignore", "void")
_CHANNELS = (("r", "red"), ("g", "green"), ("b", "blue"))
_YES = frozenset({"1", "true", "yes", "ignored", "ignore", "x"})
_NO = frozenset({"", "0", "false", "no", "-"})
_LONGEST_LINE = 1000  # characters: the time that `_FORMATS` take grows with the square
_HEX = re.compile(r"#[0-9a-fA-F]{6}")
_WORD = r"\S*[^\d\s]\S*"  # a word that is not a number
_PLAIN_NAME = rf"(?P<name>{_WORD}(?: (?:\S+ )*{_WORD})?)"
# 'class 1' is a name, but three or four numbers behind a name are its colour, with or without an index.
_NUMBERED_NAME = rf"(?P<name>{_WORD}(?: (?:\S+ )*{_WORD})?(?:(?: \d+){{1,2}}|(?: \d+){{5,}})?)"
_INDEX = r"(?P<value>\d+)"
_RGB = r"(?P<colour>\d+ \d+ \d+)"
_NAME_INDEX = f"{_PLAIN_NAME} {_INDEX}"
# What a line may be, in the order in which it is tried: its words, without '#rrggbb' and 'ignored'.
_FORMATS = (
    f"{_INDEX} {_PLAIN_NAME} {_RGB}",  # 0 sky 128 0 64
    f"{_PLAIN_NAME} {_INDEX} {_RGB}",  # sky 0 128 0 64
    f"{_PLAIN_NAME} {_RGB}",  # sky:128,0,64
    _NAME_INDEX,  # sky,0
    f"{_INDEX} {_RGB} {_NUMBERED_NAME}",  # 0 128 0 64 sky
    f"{_RGB} {_NUMBERED_NAME}",  # 128 0 64 sky
    f"{_INDEX} {_NUMBERED_NAME}",  # 0 sky
    _NUMBERED_NAME,  # sky
)


def read_class_file(path: Path) -> list[MaskClass]:
    """The lines of a class table.

    Either a CSV with a header: name; index; r, g, b or colour; ignored (true or false). Or a text with one class per
    line: its name, with an index ('0 sky', 'sky,0'), a colour ('128 0 64 sky', 'sky:128,0,64', 'sky #800040') or both,
    see `_FORMATS`, and 'ignored' at the end if it is not scored. Lines that begin with '# ' are comments. Raises
    UserError, with the line, for anything else.
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
        raise UserError(f"{path}: no classes; expected one per line, such as '0 sky' or 'sky,128,0,64'.")
    for number, line in lines:
        if len(line) > _LONGEST_LINE:
            raise UserError(f"{path}, line {number}: {len(line):,} characters; expected a class in a line.")
    separator = next((mark for mark in ",;\t" if _is_header(lines[0][1], mark)), None)
    if separator is not None:
        return _from_csv(path, lines, separator)
    return [_from_line(line, f"{path}, line {number}") for number, line in lines]


def _is_header(line: str, separator: str) -> bool:
    return separator in line and not set(_NAME).isdisjoint(_header(line, separator))


def _header(line: str, separator: str) -> list[str]:
    return [cell.lower() for cell in _cells(line, separator)]


def _cells(line: str, separator: str) -> list[str]:
    row: list[str] = next(csv.reader([line], delimiter=separator, skipinitialspace=True))
    return [cell.strip() for cell in row]


def _from_csv(path: Path, lines: list[tuple[int, str]], separator: str) -> list[MaskClass]:
    header = _header(lines[0][1], separator)

    def column(names: tuple[str, ...]) -> int | None:
        return next((header.index(name) for name in names if name in header), None)

    name, value, colour, ignored = (column(names) for names in (_NAME, _VALUE, _COLOUR, _IGNORED))
    channels = [column(names) for names in _CHANNELS]
    entries = []
    for number, line in lines[1:]:
        location, cells = f"{path}, line {number}", _cells(line, separator)
        cells += [""] * (len(header) - len(cells))
        flag = "" if ignored is None else cells[ignored].lower()
        if flag not in _YES | _NO:
            raise UserError(f"{location}: ignored='{cells[ignored or 0]}'; expected true or false.")
        parts = [cells[channel] for channel in channels if channel is not None]
        if len(parts) != 3 and colour is not None:
            parts = _colour_words(cells[colour])
        index = cells[value] if value is not None else ""
        assert name is not None
        entries.append(_entry(cells[name], index, parts, True if flag in _YES else None, location))
    return entries


def _from_line(line: str, location: str) -> MaskClass:
    """A line of a text in one of `_FORMATS`, which may hold '#rrggbb' anywhere and 'ignored' at its end."""
    words = [word for word in re.split(r"[\s,;:]+", line) if word]
    ignored = True if len(words) > 1 and words[-1].lower() in {"ignored", "ignore"} else None
    if ignored:
        words = words[:-1]
    hex_colours = [word for word in words if _HEX.fullmatch(word)]
    words = [word for word in words if not _HEX.fullmatch(word)]
    if all(word.isdecimal() for word in words):
        raise UserError(f"{location}: the class has no name.")
    # After a space alone, a number at the end is a part of the name, as in 'class 1'.
    is_separate = re.search(r"[,;:\t]\s*\d+\s*$", line) is not None
    formats = [pattern for pattern in _FORMATS if is_separate or pattern != _NAME_INDEX]
    match = next((match for pattern in formats if (match := re.fullmatch(pattern, " ".join(words)))), None)
    fields = {} if match is None else match.groupdict("")
    if match is None or (hex_colours and "colour" in fields):
        raise UserError(f"{location}: '{line}': expected a name with an index, a colour (three numbers), or both.")
    colour = _colour_words(hex_colours[0]) if hex_colours else fields.get("colour", "").split()
    return _entry(fields["name"], fields.get("value", ""), colour, ignored, location)


def _colour_words(text: str) -> list[str]:
    match = re.fullmatch(r"#?([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})", text.strip())
    if match:
        return [str(int(part, 16)) for part in match.groups()]
    return re.findall(r"\d+", text)


def _entry(name: str, value: str, colour: list[str], ignored: bool | None, location: str) -> MaskClass:
    if not name:
        raise UserError(f"{location}: the class has no name.")
    channels = [part for part in colour if part != ""]
    if len(channels) not in {0, 3}:
        raise UserError(f"{location}: expected three numbers from 0 to 255 or #rrggbb, got {' '.join(colour)}")
    try:
        red, green, blue = map(int, channels or ("0", "0", "0"))
        rgb: Rgb | None = (red, green, blue) if channels else None
        return MaskClass(name=name, value=int(value) if value else None, colour=rgb, ignored=ignored)
    except (ValueError, ValidationError):
        raise UserError(
            f"{location}: expected an index from 0 to 65535 and a colour of three numbers from 0 to 255, "
            f"got {value or 'no index'}, {' '.join(colour) or 'no colour'}"
        ) from None
