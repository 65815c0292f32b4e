"""What a tracker of experiments is told of a run, and what each of them must offer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from snellen.run.status import Status

PROJECT = "snellen"  # of runs whose project the tracker's own variables leave open


@dataclass(frozen=True)
class Subject:
    """A run, as a tracker shows it.

    name: of its folder. study: that of the study's folder, None outside of studies. fields: of the resolved recipe,
    nested. facts: what else identifies it, as text.
    """

    name: str
    study: str | None
    fields: Mapping[str, Any]
    facts: Mapping[str, str]


@dataclass(frozen=True)
class Entry:
    """Where a tracker keeps a run. run: its number there. store: the address, compared when the run is resumed."""

    run: str
    store: str


@dataclass(frozen=True)
class Row:
    """An epoch, counted from 1. values: of epochs.csv, by the name in the tracker."""

    epoch: int
    values: Mapping[str, float]


class Tracker(Protocol):
    """One tracker, for one run. Anything it raises ends the tracking, never the run."""

    def open(self, subject: Subject, entry: Entry | None) -> tuple[Entry, int, str]:
        """Starts to record, or continues `entry`. Returns where, the last epoch that is there, and a line for people.

        Raises ElsewhereError if `entry` is kept in another store than the tracker now uses.
        """

    def write(self, rows: Sequence[Row]) -> None:
        """Adds epochs."""

    def close(self, status: Status) -> None:
        """Adds how the run has ended, and waits until everything is written."""


class ElsewhereError(Exception):
    """The run is kept in another store than the one that the tracker now writes to."""


def end_of(status: Status) -> dict[str, float]:
    """The headline of a finished run with its 95% interval, by the name in a tracker; empty for any other."""
    if not status.finished:
        return {}
    values = {
        "headline": status.score,
        "headline_low": status.low,
        "headline_high": status.high,
        "headline_images": status.images,
        "chosen_epoch": status.chosen_epoch,
    }
    return {name: float(value) for name, value in values.items() if value is not None}
