"""Trackers beside a run: each epoch once, and nothing that a tracker does stops the run or changes it."""

from __future__ import annotations

import errno
import io
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from rich.console import Console
from tests.recipes import DIGITS

import snellen
from snellen import Run, UserError, compare, train
from snellen.commands import execution
from snellen.commands.train import resume
from snellen.engine.interrupt import StopRequest
from snellen.run.status import Status
from snellen.tracking import tracked
from snellen.tracking.tracker import ElsewhereError, Entry, Row, Subject

RECIPE: dict[str, Any] = DIGITS | {"epochs": 3, "snapshots": {"images": 0}, "trackers": ["mlflow"]}


@dataclass
class Recorder:
    """A tracker that keeps what it is told. fails: raises where it is called with these names."""

    fails: Callable[[str], None] = lambda where: None
    entries: list[Entry | None] = field(default_factory=list)
    subjects: list[Subject] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    ends: list[Status] = field(default_factory=list)

    def open(self, subject: Subject, entry: Entry | None) -> tuple[Entry, int, str]:
        self.fails("open")
        self.subjects.append(subject)
        self.entries.append(entry)
        return entry or Entry("7", "here"), 0, "run 7 here"

    def write(self, rows: Sequence[Row]) -> None:
        self.rows += rows
        if any(row.epoch == 2 for row in rows):
            self.fails("write")

    def close(self, status: Status) -> None:
        self.fails("close")
        self.ends.append(status)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    made = Recorder()

    def start() -> Recorder:
        made.fails("start")
        return made

    monkeypatch.setattr(tracked, "_TRACKERS", {"mlflow": start})
    monkeypatch.setattr(tracked, "find_spec", lambda name: SimpleNamespace(origin="here"))
    monkeypatch.setattr(tracked, "_SECONDS_BETWEEN_LOOKS", 0.01)
    return made


@pytest.fixture(scope="module")
def untracked(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("untracked") / "run"
    return train(digits, RECIPE | {"trackers": []}, out=out, quiet=True)


def rows_by_hand(run: Run) -> list[Row]:
    """epochs.csv as pandas reads it."""
    table = pd.read_csv(run.path / "epochs.csv", float_precision="round_trip")
    names = {name: name.replace("train_", "train/").replace("validation_", "validation/") for name in table.columns}
    return [
        Row(
            int(row["epoch"]), {names[name]: value for name, value in row.items() if name != "epoch" and value == value}
        )
        for row in table.to_dict("records")
    ]


class StopLater(StopRequest):
    """Asks to stop in the third epoch: it is asked after each of four steps, and after each epoch."""

    asked = 0

    @property
    def requested(self) -> bool:
        self.asked += 1
        return self.asked > 12

    @requested.setter
    def requested(self, value: bool) -> None:
        pass


def test_each_epoch_is_recorded_once_though_it_is_trained_twice(
    recorder: Recorder, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(execution, "StopRequest", StopLater)
        run = train(digits, RECIPE, out=tmp_path / "run", quiet=True)
    assert run.status.state == "interrupted"
    assert run.status.epochs_done == 2
    first = rows_by_hand(run)
    assert recorder.rows == first
    shutil.rmtree(run.path / "checkpoints")  # so that it starts over, and every epoch is trained again
    run = resume(run.path, quiet=True)
    assert recorder.rows == [*first, *rows_by_hand(run)[len(first) :]]
    assert [row.epoch for row in recorder.rows] == [1, 2, 3]
    assert recorder.entries == [None, Entry("7", "here")]
    assert [status.state for status in recorder.ends] == ["interrupted", "finished"]
    assert recorder.ends[1].score == run.status.score
    assert recorder.subjects[0].fields == run.recipe.model_dump(mode="json")


def raising(where: str, error: BaseException) -> Callable[[str], None]:
    def fails(called: str) -> None:
        if called == where:
            raise error

    return fails


@pytest.mark.parametrize(
    ("where", "error"),
    [
        ("start", ImportError("libtracker.so.3: cannot open shared object file")),
        ("open", ConnectionError("[/]connection refused\nsecond line")),
        ("open", ElsewhereError("its run is in one store, and the variable names another")),
        ("open", SystemExit(3)),
        ("write", OSError(errno.ENOSPC, "No space left on device")),
        ("write", ZeroDivisionError()),
        ("close", TimeoutError("the server is away")),
    ],
)
def test_a_tracker_that_fails_is_left_out_with_one_sentence(
    where: str, error: BaseException, recorder: Recorder, digits: Path, tmp_path: Path, untracked: Run
) -> None:
    recorder.fails = raising(where, error)
    text = io.StringIO()
    run = train(digits, RECIPE, out=tmp_path / "run", console=Console(file=text, width=100))
    assert run.status.state == "finished"
    assert (run.validation().probabilities == untracked.validation().probabilities).all()
    said = [line for line in text.getvalue().splitlines() if "mlflow does not record" in line]
    assert len(said) == 1
    reason = str(error).splitlines()[0] if str(error) else "ZeroDivisionError"
    assert reason in said[0]
    assert "Traceback" not in text.getvalue()
    assert not recorder.ends


def test_a_tracker_whose_record_cannot_be_written_is_left_out(recorder: Recorder, digits: Path, tmp_path: Path) -> None:
    recorder.fails = lambda where: (tmp_path / "run" / "trackers").write_text("") if where == "open" else None
    text = io.StringIO()
    run = train(digits, RECIPE, out=tmp_path / "run", console=Console(file=text, width=100))
    assert run.status.state == "finished"
    assert text.getvalue().count("mlflow does not record") == 1


def test_a_tracker_that_never_answers_does_not_hold_the_run_up(
    recorder: Recorder, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = threading.Event()
    recorder.fails = lambda where: None if where != "write" else [answer.wait(), None][1]
    monkeypatch.setattr(tracked, "_LAST_SECONDS", 0.05)
    text = io.StringIO()
    try:
        run = train(digits, RECIPE, out=tmp_path / "run", console=Console(file=text, width=100))
    finally:
        answer.set()
    assert run.status.state == "finished"
    assert text.getvalue().count("mlflow does not record") == 1


def test_a_tracker_that_is_missing_is_named_before_anything_is_written(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, untracked: Run
) -> None:
    monkeypatch.setattr(tracked, "find_spec", lambda name: None)
    message = r"trackers=mlflow: mlflow is not installed: pip install 'snellen\[mlflow\]'"
    with pytest.raises(UserError, match=message):
        train(digits, RECIPE, out=tmp_path / "run", quiet=True)
    settings = [{"name": "a"}, {"name": "b", "changes": {"optimizer.lr": 0.01}}]
    study = {"name": "two", "seeds": [0], "recipe": RECIPE, "settings": settings}
    with pytest.raises(UserError, match=message):
        compare(study, digits, out=tmp_path / "study", quiet=True)
    assert not any(tmp_path.iterdir())


def test_a_folder_that_is_called_like_a_tracker_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """wandb makes such a folder in the working folder, where Python looks for packages too."""
    (tmp_path / "no_such_tracker").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="no_such_tracker is not installed"):
        tracked.check_trackers(["no_such_tracker"])


def test_runs_of_a_study_are_grouped_by_it(recorder: Recorder, digits: Path, tmp_path: Path) -> None:
    settings = [{"name": "a"}, {"name": "b", "changes": {"optimizer.lr": 0.01}}]
    study = {"name": "rates", "seeds": [0], "fewest_steps": 0, "recipe": RECIPE, "settings": settings}
    done = compare(study, digits, out=tmp_path / "my-study", quiet=True)
    assert done is not None
    assert done.finished
    assert [subject.study for subject in recorder.subjects] == ["my-study", "my-study"]
    assert [subject.name for subject in recorder.subjects] == [run.path.name for run in done.runs]
    # Where they are recorded is no part of a result: without a tracker, the same runs are found again.
    recipe = RECIPE | {"trackers": []}
    again = compare(study | {"recipe": recipe}, digits, out=tmp_path / "my-study", quiet=True)
    assert again is not None
    assert [run.key for run in again.runs] == [run.key for run in done.runs]
    assert len(recorder.subjects) == 2


@pytest.mark.parametrize("value", ["mlflow, wandb", ["mlflow", "wandb", "mlflow"], ("mlflow", "wandb")])
def test_trackers_are_given_as_text_or_as_a_list(value: object) -> None:
    assert snellen.Recipe(trackers=value).trackers == ("mlflow", "wandb")  # type: ignore[arg-type]


def test_only_complete_rows_are_read(tmp_path: Path) -> None:
    file = tmp_path / "epochs.csv"
    assert tracked.rows_of(file) == []
    file.write_text("epoch,step,train_loss,validation_top1,knn_top1\n1,3,0.5,,0.25\n2,6,0.2")
    assert tracked.rows_of(file) == [Row(1, {"step": 3.0, "train/loss": 0.5, "knn_top1": 0.25})]
    file.write_text("epoch,st")
    assert tracked.rows_of(file) == []
