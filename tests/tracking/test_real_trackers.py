"""MLflow and Weights & Biases themselves, without a network: what they have kept of a run is read back from disk."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.tracking.test_tracked import RECIPE, StopLater, rows_by_hand

from snellen import Run, UserError, compare, train
from snellen.commands import execution
from snellen.commands.train import resume
from snellen.tracking import to_wandb, tracked

pytestmark = pytest.mark.slow
STUDY: dict[str, Any] = {
    "name": "rates",
    "seeds": [0],
    "fewest_steps": 0,
    "settings": [{"name": "a"}, {"name": "b", "changes": {"optimizer.lr": 0.01}}],
}


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine, too, everything is written before it is read back."""
    monkeypatch.setattr(tracked, "_LAST_SECONDS", 600.0)
    monkeypatch.setattr(to_wandb, "_FINISH_SECONDS", 600.0)


def stopped_and_resumed(tracker: str, digits: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    with monkeypatch.context() as patched:
        patched.setattr(execution, "StopRequest", StopLater)
        run = train(digits, RECIPE | {"trackers": [tracker]}, out=out, quiet=True)
    assert (run.status.state, run.status.epochs_done) == ("interrupted", 2)
    return resume(run.path, quiet=True)


@pytest.fixture
def mlflow_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed: pip install 'snellen[mlflow]'")
    monkeypatch.chdir(tmp_path)
    address = f"sqlite:///{tmp_path}/store.db"
    monkeypatch.setattr("mlflow.get_tracking_uri", lambda: address)
    return mlflow.MlflowClient(address)


def runs_in(store: Any) -> list[Any]:
    return list(store.search_runs([store.get_experiment_by_name("snellen").experiment_id]))


def test_mlflow_keeps_each_epoch_of_a_resumed_run_once(
    mlflow_store: Any, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = stopped_and_resumed("mlflow", digits, tmp_path / "run", monkeypatch)
    (kept,) = runs_in(mlflow_store)
    assert (kept.info.run_name, kept.info.status) == ("run", "FINISHED")
    expected = rows_by_hand(run)
    for name in expected[0].values:
        points = mlflow_store.get_metric_history(kept.info.run_id, name)
        recorded = {point.step: point.value for point in points}
        assert len(points) == len(recorded)
        if name not in {"seconds", "images_per_second"}:  # of a resumed run: clocks
            assert recorded == {row.epoch: row.values[name] for row in expected if name in row.values}
    assert kept.data.metrics["headline"] == run.status.score
    assert kept.data.metrics["headline_low"] == run.status.low
    assert kept.data.params["optimizer.lr"] == str(run.recipe.optimizer.lr)
    assert len(kept.data.params) > 50
    assert kept.data.tags["snellen.recipe"] == run.recipe.name


def test_mlflow_groups_the_runs_of_a_study(mlflow_store: Any, digits: Path, tmp_path: Path) -> None:
    recipe = RECIPE | {"epochs": 1, "trackers": ["mlflow"]}
    assert compare(STUDY | {"recipe": recipe}, digits, out=tmp_path / "rates-2", quiet=True)
    kept = runs_in(mlflow_store)
    assert len({run.info.run_id for run in kept}) == 2
    assert [run.data.tags["snellen.study"] for run in kept] == ["rates-2"] * 2


def test_mlflow_in_another_store_is_not_continued(
    mlflow_store: Any, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(execution, "StopRequest", StopLater)
        run = train(digits, RECIPE, out=tmp_path / "run", quiet=True)
    monkeypatch.setattr("mlflow.get_tracking_uri", lambda: f"sqlite:///{tmp_path}/other.db")
    run = resume(run.path)
    assert run.status.state == "finished"
    assert "store.db, and MLFLOW_TRACKING_URI is now" in capsys.readouterr().err
    (kept,) = runs_in(mlflow_store)
    assert kept.info.status == "KILLED"


def test_a_server_that_is_away_does_not_stop_the_run(
    mlflow_store: Any, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr("mlflow.get_tracking_uri", lambda: "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    run = train(digits, RECIPE, out=tmp_path / "run")
    assert run.status.state == "finished"
    assert capsys.readouterr().err.count("mlflow does not record this run any further") == 1


@pytest.fixture
def wandb_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    wandb = pytest.importorskip("wandb", reason="wandb is not installed: pip install 'snellen[wandb]'")
    wandb.teardown()  # it reads the environment once
    yield tmp_path / "wandb"
    wandb.teardown()


def records_of(folder: Path) -> Iterator[Any]:
    """The records of an offline run: LevelDB's log format after a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = folder.glob("*.wandb")
    content, position, parts = file.read_bytes(), 7, b""
    while position + 7 <= len(content):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        length, kind = int.from_bytes(content[position + 4 : position + 6], "little"), content[position + 6]
        parts += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in {1, 4}:  # whole, or the last part
            yield Record.FromString(parts)
            parts = b""


def test_wandb_keeps_each_epoch_of_a_resumed_run_once(
    wandb_folder: Path, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = stopped_and_resumed("wandb", digits, tmp_path / "run", monkeypatch)
    folders = sorted(wandb_folder.glob("offline-run-*"))
    records = [record for folder in folders for record in records_of(folder)]
    assert len(folders) == 2, "one for each start"
    assert len({record.run.run_id for record in records if record.HasField("run")}) == 1
    history = [
        {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        for record in records
        if record.HasField("history")
    ]
    assert [row["epoch"] for row in history] == [1, 2, 3]
    for recorded, expected in zip(history, rows_by_hand(run), strict=True):
        for name in expected.values.keys() - {"seconds", "images_per_second"}:
            assert recorded[name] == expected.values[name]
    summary = {
        item.key or ".".join(item.nested_key): json.loads(item.value_json)
        for record in records
        if record.HasField("summary")
        for item in record.summary.update
    }
    assert summary["headline"] == run.status.score
    assert summary["state"] == "finished"


def test_wandb_groups_the_runs_of_a_study(wandb_folder: Path, digits: Path, tmp_path: Path) -> None:
    recipe = RECIPE | {"epochs": 1, "trackers": ["wandb"]}
    assert compare(STUDY | {"recipe": recipe}, digits, out=tmp_path / "rates-2", quiet=True)
    records = [record for folder in wandb_folder.glob("offline-run-*") for record in records_of(folder)]
    runs = {record.run.run_id: record.run for record in records if record.HasField("run")}
    assert [run.run_group for run in runs.values()] == ["rates-2"] * 2
    assert {run.project for run in runs.values()} == {"snellen"}


def test_wandb_without_a_login_is_refused_before_training(
    wandb_folder: Path, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    monkeypatch.delenv("WANDB_MODE")
    wandb.teardown()
    with pytest.raises(UserError, match="wandb is not logged in"):
        train(digits, RECIPE | {"trackers": ["wandb"]}, out=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()
