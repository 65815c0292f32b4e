"""A table of the runs below a folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from snellen.errors import FormatError, UserError
from snellen.insight.proportions import Interval, percents
from snellen.recipe.load import resolved_fields
from snellen.run.claim import is_locked
from snellen.run.directory import RunDirectory
from snellen.words import did_you_mean, duration

SORTED = ("run", "recipe", "data", "state", "epochs", "score", "time")
STATES = ("running", "finished", "interrupted", "failed", "stopped", "damaged", "of another format")


@dataclass(frozen=True)
class RunRow:
    """A run, as it is listed. recipe, data: names; data is the last part of the path of the images.

    state: that of status.json; "stopped" if the run was killed; "damaged" or "of another format" if it cannot be read:
    then what follows is None. measure: what score is, in [0, 1], with its 95% interval. seconds: of training and
    scoring. why: the reason for a failed, damaged or foreign run, else "".
    """

    run: str
    state: str
    why: str = ""
    recipe: str | None = None
    data: str | None = None
    epochs_done: int | None = None
    epochs: int | None = None
    measure: str | None = None
    score: float | None = None
    low: float | None = None
    high: float | None = None
    seconds: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def find_runs(folder: Path) -> Iterator[Path]:
    """Run directories below `folder`, sorted by path; the folder itself may be one."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder. Give the folder that holds the runs.")
    for path in sorted(folder.rglob("recipe.yaml")):
        if (path.parent / "status.json").is_file():
            yield path.parent


def runs(
    folder: Path,
    *,
    states: Sequence[str] = (),
    recipes: Sequence[str] = (),
    data: Sequence[str] = (),
    sort: str = "run",
    reverse: bool = False,
) -> list[RunRow]:
    """The runs below a folder, sorted.

    states, recipes, data: only runs with one of these; all if empty. data: names, or paths as given in training. sort:
    one of SORTED; the best scores come first, and the shortest times; runs without a value come last. reverse: the
    other way round, but these stay last.

    Raises UserError if there is no run in the folder, and for an unknown column or state.
    """
    _check_known("column", [sort], SORTED)
    _check_known("state", states, STATES)
    rows = [_row(path) for path in find_runs(folder)]
    if not rows:
        raise UserError(f"{folder}: no runs here. `snellen train` writes them to runs/.")
    wanted = ((states, "state"), (recipes, "recipe"), ([Path(name).name for name in data], "data"))
    rows = [row for row in rows if all(not values or getattr(row, name) in values for values, name in wanted)]
    keys = [(row, _key(row, sort)) for row in rows]
    known = sorted(((row, key) for row, key in keys if key is not None), key=lambda pair: pair[1], reverse=reverse)
    return [row for row, _ in known] + [row for row, key in keys if key is None]


def runs_table(rows: Sequence[RunRow]) -> Table:
    """One line for each run."""
    table = Table(box=None, pad_edge=False)
    has_reasons = any(row.why for row in rows)
    for column in ("run", "recipe", "data", "state", "epochs", "score", "95% interval", "time", *["why"] * has_reasons):
        is_number = column in {"epochs", "score", "95% interval", "time"}
        table.add_column(column, justify="right" if is_number else "left", overflow="fold", no_wrap=is_number)
    for row in rows:
        table.add_row(*_cells(row), *[escape(row.why)] * has_reasons)
    return table


def _check_known(what: str, given: Sequence[str], known: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            raise UserError(f"{name}: no such {what}. Known: {', '.join(known)}.{did_you_mean(name, known)}")


def _row(path: Path) -> RunRow:
    try:
        run = RunDirectory(path)
        status = run.status
    except FormatError as error:
        return RunRow(str(path), "of another format", str(error))
    except UserError as error:
        return RunRow(str(path), "damaged", str(error))
    was_killed = status.state == "running" and not is_locked(path)  # before it could write its state
    return RunRow(
        run=str(path),
        state="stopped" if was_killed else status.state,
        why=status.error or "",
        recipe=_recipe(run),
        data=_data(run),
        epochs_done=status.epochs_done,
        epochs=status.epochs,
        measure=status.measure,
        score=status.score,
        low=status.low,
        high=status.high,
        seconds=status.seconds,
    )


def _recipe(run: RunDirectory) -> str | None:
    try:
        return str(resolved_fields(run.path / "recipe.yaml")[0].get("name", "")) or None
    except UserError:  # a damaged file leaves its cell empty
        return None


def _data(run: RunDirectory) -> str | None:
    try:
        return Path(run.data["source"]).name
    except UserError:
        return None


def _key(row: RunRow, column: str) -> Any:
    if column == "score":
        return None if row.score is None else -row.score
    return getattr(row, {"time": "seconds", "epochs": "epochs_done"}.get(column, column))


def _cells(row: RunRow) -> list[str]:
    interval = percents(Interval(row.low, row.high)) if row.low is not None and row.high is not None else ""
    return [
        escape(row.run),
        escape(row.recipe or ""),
        escape(row.data or ""),
        row.state,
        "" if row.epochs is None else f"{row.epochs_done}/{row.epochs}",
        "" if row.score is None else f"{row.measure} {row.score:.2%}",
        interval,
        "" if row.seconds is None else duration(row.seconds),
    ]
