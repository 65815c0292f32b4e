"""Words for people that several parts of the program use."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun: '1 epoch', '3,000 epochs'. plural: where it is not the noun with an s."""
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
    """What a value is, with its value where that is short: 'None', 'a list', 'the number 5'."""
    if value is None:
        return "None"
    name = type(value).__name__
    if isinstance(value, bool | int | float):
        return f"{'the number ' if not isinstance(value, bool) else ''}{value}"
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def did_you_mean(given: str, choices: Iterable[str], cutoff: float = 0.6) -> str:
    """A sentence with the choice that is spelt most like `given`, after a space; "" where none is near.

    cutoff: the least similarity in [0, 1], as in difflib.get_close_matches.

    >>> did_you_mean("adamv", ["sgd", "adamw"])
    " Did you mean 'adamw'?"
    >>> did_you_mean("lion", ["sgd", "adamw"])
    ''
    """
    close = difflib.get_close_matches(given, list(choices), n=1, cutoff=cutoff)
    return f" Did you mean '{close[0]}'?" if close else ""


def duration(seconds: float) -> str:
    """A time for people: '0.02 s', '45 s', '12 min', '1.7 h'."""
    if seconds < 10:
        return f"{seconds:.2g} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"


def time_axis(longest: float) -> tuple[float, str]:
    """(seconds in a unit, its name) for an axis of time up to `longest` seconds: as fine as `duration` writes it."""
    return (1.0, "seconds") if longest < 100 else (60.0, "minutes")


def first_line(error: BaseException) -> str:
    """What an exception of a library says, in one line; its type where it says nothing."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
