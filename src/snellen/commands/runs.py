"""A table of the runs below a folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from snellen.errors import FormatError, UserError
from snellen.insight.proportions import Interval, percents
from snellen.run.claim import is_locked
from snellen.run.directory import RunDirectory
from snellen.words import duration


def find_runs(folder: Path) -> Iterator[Path]:
    """Run directories below `folder`, sorted by path; the folder itself may be one."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder. Give the folder that holds the runs.")
    for path in sorted(folder.rglob("recipe.yaml")):
        if (path.parent / "status.json").is_file():
            yield path.parent


def _cells(run: RunDirectory) -> list[str]:
    status = run.status
    score = "" if status.score is None else f"{status.measure} {status.score:.2%}"
    interval = ""
    if status.low is not None and status.high is not None:
        interval = percents(Interval(status.low, status.high))
    was_killed = status.state == "running" and not is_locked(run.path)  # before it could write its state
    state = "stopped" if was_killed else status.state
    return [state, f"{status.epochs_done}/{status.epochs}", score, interval, duration(status.seconds)]


def runs_table(folder: Path) -> Table:
    """One line for each run: state, epochs, score, time; "damaged" if its status cannot be read.

    Raises UserError if there is none.
    """
    table = Table(box=None, pad_edge=False)
    for column in ("run", "state", "epochs", "score", "95% interval", "time"):
        table.add_column(column, justify="left" if column in {"run", "state"} else "right")
    for path in find_runs(folder):
        try:
            cells = _cells(RunDirectory(path))
        except FormatError:
            cells = ["of another format"]
        except UserError:
            cells = ["damaged: status.json"]
        table.add_row(escape(str(path)), *cells)
    if not table.row_count:
        raise UserError(f"{folder}: no runs here. `snellen train` writes them to runs/.")
    return table
