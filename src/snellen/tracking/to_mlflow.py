"""Runs in MLflow: where and in which experiment, MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME say."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from snellen.run.status import Status
from snellen.tracking.tracker import PROJECT, ElsewhereError, Entry, Row, Subject, end_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

_MOST_PARAMETERS = 100  # of one request
_LONGEST_VALUE = 500  # characters; older servers refuse more
_STATES = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED", "running": "KILLED"}
_EVERY_EPOCH = "train/loss"


class ToMlflow:
    """A run in MLflow, by its client alone: an active run of the caller's is left alone."""

    def __init__(self) -> None:
        # MLflow reports to its makers unless told otherwise; who wants that sets the variable.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        import mlflow

        self._uri: str = mlflow.get_tracking_uri()
        self._client: MlflowClient = mlflow.MlflowClient(self._uri)
        self._run = ""

    def open(self, subject: Subject, entry: Entry | None) -> tuple[Entry, int, str]:
        """As in Tracker."""
        from mlflow.exceptions import MlflowException

        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        store = without_credentials(self._uri)
        if entry is None:
            try:
                experiment = self._client.get_experiment_by_name(name)
                number = self._client.create_experiment(name) if experiment is None else experiment.experiment_id
            except MlflowException:  # another process may have made it in between
                experiment = self._client.get_experiment_by_name(name)
                if experiment is None:
                    raise
                number = experiment.experiment_id
            tags = {f"snellen.{key}": value for key, value in subject.facts.items()}
            if subject.study is not None:
                tags["snellen.study"] = subject.study
            self._run = self._client.create_run(number, run_name=subject.name, tags=tags).info.run_id
            self._write_parameters(subject.fields)
            done = 0
        else:
            if entry.store != store:
                raise ElsewhereError(f"its run is in {entry.store}, and MLFLOW_TRACKING_URI is now {store}")
            self._run = entry.run
            self._client.update_run(self._run, status="RUNNING")
            done = max(
                (int(point.step) for point in self._client.get_metric_history(self._run, _EVERY_EPOCH)), default=0
            )
        return Entry(self._run, store), done, f"run {self._run} of the experiment {name} in {store}"

    def write(self, rows: Sequence[Row]) -> None:
        """As in Tracker."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        for row in rows:
            metrics = [Metric(name, value, now, row.epoch) for name, value in row.values.items()]
            self._client.log_batch(self._run, metrics=metrics)

    def close(self, status: Status) -> None:
        """As in Tracker."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, status.epochs_done) for name, value in end_of(status).items()]
        if metrics:
            self._client.log_batch(self._run, metrics=metrics)
        if status.error:
            self._client.set_tag(self._run, "snellen.error", status.error)
        self._client.set_terminated(self._run, status=_STATES[status.state])

    def _write_parameters(self, fields: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        parameters = (Param(key, str(value)[:_LONGEST_VALUE]) for key, value in _flat(fields))
        while batch := list(islice(parameters, _MOST_PARAMETERS)):
            self._client.log_batch(self._run, params=batch)


def without_credentials(uri: str) -> str:
    """An address without the user and password in it."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if "@" in parts.netloc else uri


def _flat(fields: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested fields by dotted key."""
    for key, value in fields.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
