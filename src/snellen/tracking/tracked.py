"""Trackers beside a run: each reads epochs.csv from a thread of its own, so none can hold the run up or stop it.

trackers/NAME.json    where the tracker keeps the run, and the last epoch that was handed to it
"""

from __future__ import annotations

import csv
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from snellen.errors import UserError
from snellen.files import from_json, write_json
from snellen.run.directory import RunDirectory
from snellen.tracking.tracker import ElsewhereError, Entry, Row, Subject, Tracker
from snellen.words import first_line

_SECONDS_BETWEEN_LOOKS = 1.0
_LAST_SECONDS = 30.0  # that the end of a run waits for a tracker


def _mlflow() -> Tracker:
    from snellen.tracking.to_mlflow import ToMlflow

    return ToMlflow()


def _wandb() -> Tracker:
    from snellen.tracking.to_wandb import ToWandb

    return ToWandb()


_TRACKERS: Mapping[str, Callable[[], Tracker]] = {"mlflow": _mlflow, "wandb": _wandb}


def check_trackers(names: Sequence[str]) -> None:
    """Raises UserError if a tracker is not installed, or could only start by asking the user something."""
    for name in names:
        spec = find_spec(name)
        if spec is None or spec.origin is None:  # a folder of that name, such as wandb's own wandb/, is no package
            raise UserError(f"trackers={name}: {name} is not installed: pip install 'snellen[{name}]'")
    if "wandb" in names:
        from snellen.tracking.to_wandb import check_login

        check_login()


@contextmanager
def tracked(run: Path, names: Sequence[str], subject: Callable[[], Subject], console: Console) -> Iterator[None]:
    """Records a run in some trackers while it is trained, and how it has ended when left.

    A tracker that fails is left out from then on, with one warning. names: as in check_trackers.
    """
    with ExitStack() as stack:
        for name in names:
            feeder = _Feeder(name, run, subject(), console)
            feeder.start()
            stack.callback(feeder.finish)
        yield


@dataclass(frozen=True)
class _Kept:
    """trackers/NAME.json."""

    run: str
    store: str
    epochs: int


class _Feeder(threading.Thread):
    """Hands one tracker each epoch of a run once."""

    def __init__(self, name: str, run: Path, subject: Subject, console: Console) -> None:
        super().__init__(name=f"tracker {name}", daemon=True)
        self._tracker_name, self._path, self._subject, self._console = name, run, subject, console
        self._file = run / "trackers" / f"{name}.json"
        self._ending, self._given_up = threading.Event(), threading.Event()
        self._tracker: Tracker | None = None

    def start(self) -> None:
        """Imports the tracker here, since two threads that import may wait for each other; the rest in the thread."""
        try:
            self._tracker = _TRACKERS[self._tracker_name]()
        except (Exception, SystemExit) as error:
            self._warn(error)
        super().start()

    def run(self) -> None:
        """Until the run ends or the tracker fails."""
        if self._tracker is None:
            return
        try:
            self._feed(self._tracker)
        except (Exception, SystemExit) as error:  # a tracker raises what its libraries and their servers raise
            self._warn(error)

    def finish(self) -> None:
        """Waits a little for the last epochs and the end of the run to be handed over."""
        self._ending.set()
        self.join(_LAST_SECONDS)
        if self.is_alive():
            self._warn(TimeoutError(f"no answer within {_LAST_SECONDS:.0f} s of the end of the run"))
            self._given_up.set()

    def _feed(self, tracker: Tracker) -> None:
        kept = self._kept()
        entry, done, where = tracker.open(self._subject, None if kept is None else Entry(kept.run, kept.store))
        done = max(done, 0 if kept is None else kept.epochs)
        self._keep(entry, done)
        self._say(f"{self._tracker_name}: {where}")
        ending = False
        while not ending:
            ending = self._ending.wait(_SECONDS_BETWEEN_LOOKS)
            rows = [row for row in rows_of(self._path / "epochs.csv") if row.epoch > done]
            if rows:
                tracker.write(rows)
                done = rows[-1].epoch
                self._keep(entry, done)
        tracker.close(RunDirectory(self._path).status)

    def _kept(self) -> _Kept | None:
        if not self._file.is_file():
            return None
        return from_json(_Kept, self._file.read_text(encoding="utf-8"))

    def _keep(self, entry: Entry, epochs: int) -> None:
        write_json(self._file, asdict(_Kept(entry.run, entry.store, epochs)))

    def _warn(self, error: BaseException) -> None:
        if self._given_up.is_set():
            return
        self._given_up.set()
        in_words = isinstance(error, ElsewhereError | UserError | TimeoutError)
        reason = first_line(error) if in_words else f"{type(error).__name__}: {first_line(error)}"
        self._console.print(
            f"[yellow]warning:[/] {self._tracker_name} does not record this run any further "
            f"({escape(reason.rstrip('.'))}); the run goes on, and its figures are in {escape(str(self._path))}.",
            highlight=False,
            soft_wrap=True,
        )

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def rows_of(file: Path) -> list[Row]:
    """The complete rows of an epochs.csv that may be growing; of a file that is not there yet, none.

    train_ and validation_ at the start of a column become train/ and validation/, by which trackers make sections.
    """
    if not file.is_file():
        return []
    text = file.read_text(encoding="utf-8")
    complete = text[: text.rfind("\n") + 1].splitlines()
    return [
        Row(int(row["epoch"]), {_metric(name): float(cell) for name, cell in row.items() if name != "epoch" and cell})
        for row in csv.DictReader(complete)
    ]


def _metric(column: str) -> str:
    for part in ("train", "validation"):
        if column.startswith(f"{part}_"):
            return f"{part}/{column.removeprefix(f'{part}_')}"
    return column
