"""Everything that an exact resume needs, in one file that is written completely or not at all."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import TypeAdapter
from torch import nn
from torch.optim import Optimizer

from snellen.errors import UserError
from snellen.models.weights import load_all, load_tensors
from snellen.run.writer import RunWriter
from snellen.words import first_line

if TYPE_CHECKING:
    from timm.utils import ModelEmaV3

_LAST = "checkpoints/last.pt"
_SECONDS_BETWEEN = 60.0
_SHARE_OF_TIME = 0.02  # saving may take this share of a run's time; large networks are saved less often


@dataclass
class Progress:
    """How far a run has got.

    epoch: the current one, counted from 1. step: optimiser steps done in the run. step_in_epoch: of these, in this
    epoch. loss_sum, measured, seen: sums over the images of this epoch so far of the loss, of the task's training
    metric and of 1 (the names are keys of the checkpoint). images: trained on in the whole run, repeats counted.
    chosen_epoch: 0 before the first evaluation; chosen_quality: its score. epoch_started: seconds_training when this
    epoch began. file_sizes: bytes of the growing files at the moment of saving.
    """

    epoch: int = 1
    step: int = 0
    step_in_epoch: int = 0
    loss_sum: float = 0.0
    measured: float = 0.0
    seen: int = 0
    images: int = 0
    chosen_epoch: int = 0
    chosen_quality: float = -math.inf
    seconds_training: float = 0.0
    seconds_evaluating: float = 0.0
    epoch_started: float = 0.0
    file_sizes: dict[str, int] = field(default_factory=dict)

    def begin_epoch(self, epoch: int) -> None:
        """Sets the sums of an epoch to zero."""
        self.epoch, self.step_in_epoch = epoch, 0
        self.loss_sum, self.measured, self.seen = 0.0, 0.0, 0
        self.epoch_started = self.seconds_training


class Checkpoint:
    """checkpoints/last.pt of one run: weights, optimiser, moving average, progress."""

    def __init__(self, writer: RunWriter, model: nn.Module, optimizer: Optimizer, ema: ModelEmaV3 | None) -> None:
        self._writer = writer
        self._path = writer.path / _LAST
        self._model = model
        self._optimizer = optimizer
        self._ema = ema
        self._saved_at = time.monotonic()
        self._cost = 0.0

    @property
    def due(self) -> bool:
        """Whether it is time to save: every minute, less often if saving is slow."""
        return time.monotonic() - self._saved_at > max(_SECONDS_BETWEEN, self._cost / _SHARE_OF_TIME)

    def save(self, progress: Progress) -> None:
        """Replaces last.pt. Raises UserError if the disk is full; the previous file is then still there."""
        start = time.monotonic()
        state = {
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "ema": self._ema.module.state_dict() if self._ema else None,
            "progress": asdict(progress),
        }
        self._writer.state(_LAST, state)
        self._saved_at = time.monotonic()
        self._cost = self._saved_at - start

    def restore(self, device: torch.device) -> Progress | None:
        """Loads last.pt into model, optimiser and average. None if nothing has been saved yet.

        Raises UserError if it does not fit, or if a growing file has lost content since the checkpoint.
        """
        if not self._path.is_file():
            return None
        with _reading(self._path, device) as state:
            load_all(self._model, state["model"])
            self._optimizer.load_state_dict(state["optimizer"])
            if self._ema:
                self._ema.module.load_state_dict(state["ema"])
            progress = TypeAdapter(Progress).validate_python(state["progress"])
        for name, size in progress.file_sizes.items():
            file = self._path.parent.parent / name
            length = file.stat().st_size if file.is_file() else 0
            if length < size:
                raise UserError(
                    f"{file}: {length:,} bytes of the {size:,} that it held at the last checkpoint; the rest is lost, "
                    f"as after a power failure, and the run cannot be resumed exactly. Restore the file, or delete "
                    f"{self._path} to start this run over from its first step."
                )
        return progress


def restore_model(run: Path, model: nn.Module, device: torch.device) -> None:
    """Loads the weights of last.pt into `model`, nothing else. Raises UserError if it does not fit."""
    with _reading(run / _LAST, device) as state:
        load_all(model, state["model"])


@contextmanager
def _reading(path: Path, device: torch.device) -> Iterator[dict[str, Any]]:
    """The contents of last.pt. Errors while they are used become a UserError that names the file."""
    try:
        yield load_tensors(path, device)
    except Exception as error:
        reason = first_line(error)
        raise UserError(
            f"{path}: not a checkpoint of this run ({reason}). Delete it to start this run over from its first step."
        ) from error
