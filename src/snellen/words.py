"""Words for people that several parts of the program use."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun: '1 epoch', '3,000 epochs'. plural: if it is not the noun with an s."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def images_by_part(train: int, validation: int, test: int = 0) -> str:
    """How many images each part of a split holds, in words: '80 training, 10 validation and 10 test images'."""
    if not test:
        return f"{train:,} training and {counted(validation, 'validation image')}"
    return f"{train:,} training, {validation:,} validation and {counted(test, 'test image')}"


def shortened(lines: Sequence[str], most: int) -> list[str]:
    """At most so many of the lines, and then how many more there are."""
    rest = [f"… and {len(lines) - most} more"] if len(lines) > most else []
    return [*lines[:most], *rest]


def kind_of(value: object) -> str:
    """What a value is, with the value itself if short: 'None', 'a list', 'the number 5'."""
    if value is None:
        return "None"
    name = type(value).__name__
    if isinstance(value, bool | int | float):
        return f"{'the number ' if not isinstance(value, bool) else ''}{value}"
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def did_you_mean(given: str, choices: Iterable[str], cutoff: float = 0.6, most: int = 1) -> str:
    """A sentence with the choices that are spelt most like `given`, after a space; "" if none is similar.

    cutoff, most: the least similarity in [0, 1] and the number of choices, as in difflib.get_close_matches.

    >>> did_you_mean("adamv", ["sgd", "adamw"])
    " Did you mean 'adamw'?"
    >>> did_you_mean("lion", ["sgd", "adamw"])
    ''
    """
    close = [f"'{name}'" for name in difflib.get_close_matches(given, list(choices), most, cutoff)]
    return f" Did you mean {' or '.join(close)}?" if close else ""


def duration(seconds: float) -> str:
    """A time for people: '0.02 s', '45 s', '12 min', '1.7 h'."""
    if seconds < 10:
        return f"{seconds:.2g} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"


def si(number: float) -> str:
    """Three digits and a unit: 127,106 is '127 k'."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= 0.9995 * size:
            scaled = number / size
            return f"{scaled:.{2 if scaled < 9.995 else 1 if scaled < 99.95 else 0}f}{unit}"
    return f"{number:.0f}"


def time_axis(longest: float) -> tuple[float, str]:
    """(seconds in a unit, its name) for a time axis up to `longest` seconds, in the unit that `duration` would use."""
    return (1.0, "seconds") if longest < 100 else (60.0, "minutes")


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An exception, the one that led to it, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def why_failed(error: BaseException) -> str:
    """As `first_line`, of the failure to use files that caused the exception, if there is one: a library's own text
    often hides that a disk is full."""
    return first_line(next((cause for cause in causes(error) if isinstance(cause, OSError)), error))


def first_line(error: BaseException) -> str:
    """What an exception of a library says, in one line; its type if it says nothing."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
