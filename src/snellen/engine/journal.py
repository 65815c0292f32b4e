"""What a run writes while it trains: metrics by step and epoch, results for each scored image, TensorBoard events."""

from __future__ import annotations

import csv
import io
import math
import os
import time
from collections.abc import Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from snellen.engine.checkpoint import Progress
from snellen.errors import DivergedError
from snellen.run.writer import RunWriter

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STEPS, _EPOCHS = "steps.csv", "epochs.csv"
_STEP_FIELDS = ["step", "epoch", "loss", "learning_rate", "gradient_norm", "seconds"]
_EPOCH_FIELDS = ["epoch", "step", "learning_rate", "train_loss"]
_FLUSH_SECONDS = 0.5  # reading a loss waits for the device; twice a second costs nothing


def epoch_fields(train_metric: str, columns: Sequence[str]) -> list[str]:
    """The columns of epochs.csv. train_metric, columns: as in engine.task.Task."""
    return [*_EPOCH_FIELDS, f"train_{train_metric}", *columns, "seconds", "images_per_second"]


class _Step(NamedTuple):
    """A step that is not written yet; loss, metric_sum and norm may still be computed on the device."""

    number: int
    loss: Tensor
    metric_sum: Tensor
    images: int
    rate: float
    norm: Tensor | None
    seconds: float


class Journal:
    """The append-only files of a run directory, truncated to the checkpoint when a run is resumed.

    train_metric, columns: what the task adds to epochs.csv. records: the files of results for each image; a run that
    began without one of them continues without it. Raises DivergedError, naming the step, if a loss is not finite.
    """

    def __init__(
        self, writer: RunWriter, progress: Progress, train_metric: str, columns: Sequence[str], records: Sequence[str]
    ) -> None:
        self._progress = progress
        self._fields = epoch_fields(train_metric, columns)
        self._records = records
        self._files: dict[str, IO[bytes]] = {}
        for name in (_STEPS, _EPOCHS, *records):
            if progress.file_sizes and name not in progress.file_sizes:  # of an older version: its epochs are missing
                continue
            self._files[name] = writer.growing(name, progress.file_sizes.get(name, 0))
        if not progress.file_sizes:
            self._row(_STEPS, _STEP_FIELDS)
            self._row(_EPOCHS, self._fields)
        self._events = writer.events("tensorboard", progress.step)
        self._pending: list[_Step] = []
        self._flushed_at = time.monotonic()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()
        if self._events is not None:
            self._events.close()

    def step(
        self, loss: Tensor, metric_sum: Tensor, images: int, rate: float, norm: Tensor | None, seconds: float
    ) -> None:
        """Queues one step without waiting for the device."""
        self._pending.append(_Step(self._progress.step, loss, metric_sum, images, rate, norm, seconds))

    @property
    def due(self) -> bool:
        """Whether it is time to write the queued steps."""
        return time.monotonic() - self._flushed_at >= _FLUSH_SECONDS

    def flush(self) -> None:
        """Writes the queued steps and adds them to the epoch's sums one by one, so when to flush does not matter."""
        self._flushed_at = time.monotonic()
        if not self._pending:
            return
        # One transfer from the device for all queued steps.
        losses = torch.stack([step.loss for step in self._pending]).cpu().double().tolist()
        metric_sums = torch.stack([step.metric_sum for step in self._pending]).cpu().double().tolist()
        for step, loss, metric_sum in zip(self._pending, losses, metric_sums, strict=True):
            if not math.isfinite(loss):
                raise DivergedError(
                    f"the loss is {loss} at step {step.number} (epoch {self._progress.epoch}, "
                    f"learning rate {step.rate:.3g})"
                )
            self._progress.loss_sum += loss * step.images
            self._progress.measured += metric_sum
            self._progress.seen += step.images
            self._progress.images += step.images
            gradient = "" if step.norm is None else step.norm.item()
            row = [step.number, self._progress.epoch, loss, step.rate, gradient, round(step.seconds, 3)]
            self._row(_STEPS, row)
            self._event("train/loss", loss, step.number)
            self._event("train/learning_rate", step.rate, step.number)
        self._pending.clear()
        self._files[_STEPS].flush()

    def epoch(self, values: Mapping[str, Any], per_image: Sequence[NDArray[Any]]) -> None:
        """Writes the row of an epoch and, if it was scored, the results for each image: one array for each record."""
        self._row(_EPOCHS, ["" if values.get(name) is None else values[name] for name in self._fields])
        for name, array in zip(self._records, per_image, strict=True) if per_image else ():
            if name in self._files:
                self._files[name].write(array.tobytes())
        for name in self._fields[3:]:
            if values.get(name) is not None:
                self._event(name.replace("_", "/", 1), values[name], self._progress.step)
        for file in self._files.values():
            file.flush()
        if self._events is not None:
            self._events.flush()

    def sizes(self) -> dict[str, int]:
        """Bytes of each append-only file, flushed to disk; for the checkpoint, which must never claim more."""
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        return {name: file.tell() for name, file in self._files.items()}

    def _event(self, tag: str, value: float, step: int) -> None:
        if self._events is not None:
            self._events.add_scalar(tag, value, step)

    def _row(self, name: str, values: list[Any]) -> None:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(values)
        self._files[name].write(line.getvalue().encode())
