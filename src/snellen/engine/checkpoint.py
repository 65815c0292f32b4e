"""Everything that an exact resume needs, in one file that is written completely or not at all.

The checkpoint before the last is kept until the run is finished, so there are two complete ones at any time, also while
the next is written. That costs the space of one file and no time. The checksum is that of the zip archive that
torch.save writes, a CRC-32 of each tensor, which torch.load ignores: it is verified when a run is resumed. If the last
checkpoint is damaged, the run goes on from the one before, and since a resumed run is exact, to the same result.
"""

from __future__ import annotations

import math
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open
from torch import nn
from torch.optim import Optimizer

from snellen.errors import UserError
from snellen.models.weights import load_all, load_tensors
from snellen.run.writer import RunWriter
from snellen.words import first_line

if TYPE_CHECKING:
    from timm.utils import ModelEmaV3

LAST, PREVIOUS, BEST = "checkpoints/last.pt", "checkpoints/previous.pt", "checkpoints/best.safetensors"
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

    def forget_choice(self) -> None:
        """As before the first evaluation: the next scored epoch is chosen."""
        self.chosen_epoch, self.chosen_quality = 0, -math.inf

    def begin_epoch(self, epoch: int) -> None:
        """Sets the sums of an epoch to zero."""
        self.epoch, self.step_in_epoch = epoch, 0
        self.loss_sum, self.measured, self.seen = 0.0, 0.0, 0
        self.epoch_started = self.seconds_training


class Checkpoint:
    """checkpoints/last.pt of one run: weights, optimiser, moving average, progress."""

    def __init__(self, writer: RunWriter, model: nn.Module, optimizer: Optimizer, ema: ModelEmaV3 | None) -> None:
        self._writer = writer
        self._path = writer.path / LAST
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
        """Replaces last.pt, which becomes previous.pt. Raises UserError if the disk is full; both then stay."""
        start = time.monotonic()
        self._writer.state(LAST, self.state() | {"progress": asdict(progress)}, PREVIOUS)
        self._saved_at = time.monotonic()
        self._cost = self._saved_at - start

    def state(self) -> dict[str, Any]:
        """What a step starts from: the model, the optimiser, the average of the weights."""
        return {
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "ema": self._ema.module.state_dict() if self._ema else None,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Sets the model, the optimiser and the average to what `state` gave."""
        load_all(self._model, state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        if self._ema:
            self._ema.module.load_state_dict(state["ema"])

    def restore(self, device: torch.device) -> Progress | None:
        """Loads last.pt into model, optimiser and average. None if nothing has been saved yet.

        If the weights of the chosen epoch were replaced by those of a later one, which is now trained again, the next
        scored epoch is chosen. Raises UserError if the checkpoint does not fit, or if a growing file has lost content
        since.
        """
        if not self._path.is_file():
            return None
        with _reading(self._path, device) as state:
            self.load(state)
            progress = _progress_of(state)
        if kept_epoch(self._writer.path) != progress.chosen_epoch:
            progress.forget_choice()
        for name, size in progress.file_sizes.items():
            file = self._path.parent.parent / name
            length = file.stat().st_size if file.is_file() else 0
            if length < size:
                raise UserError(
                    f"{file}: {length:,} bytes of the {size:,} that it held at the last checkpoint; the rest is lost, "
                    f"as after a power failure, and the run cannot be resumed exactly. Restore the file, or delete "
                    f"{self._path.parent} to start this run over from its first step."
                )
        return progress


def recover(writer: RunWriter) -> str | None:
    """Verifies last.pt of a stopped run; if it is damaged or missing, the checkpoint before becomes last.pt.

    Returns a note for the user if it was damaged, else None. Raises UserError if no checkpoint can be read.
    """
    last, previous = writer.path / LAST, writer.path / PREVIOUS
    if not (last.exists() or previous.exists()) or _verified(last) is not None:
        return None
    progress = _verified(previous)
    if progress is None:
        raise UserError(
            f"{last}: damaged (its checksum differs), and there is no whole checkpoint before it. Restore the file, or "
            f"delete {last.parent} to start this run over from its first step."
        )
    was_damaged = last.exists()  # else the process was killed between the two renames of a save
    writer.rename(PREVIOUS, LAST)
    if not was_damaged:
        return None
    return (
        f"{last} was damaged (its checksum differs). The run resumes from the checkpoint before it, after step "
        f"{progress.step}; its result is the same."
    )


def _verified(path: Path) -> Progress | None:
    """The progress in a checkpoint; None if there is none or it is damaged. Raises UserError if it may not be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                return None
        return _progress_in(path)
    except PermissionError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error
    except Exception:  # damage to the archive's directory raises many kinds of errors
        return None


def saved_progress(run: Path) -> Progress:
    """The progress in last.pt; zero if nothing has been saved yet."""
    return _progress_in(run / LAST) if (run / LAST).is_file() else Progress()


def _progress_in(path: Path) -> Progress:
    """Without reading the tensors."""
    return _progress_of(torch.load(path, map_location="cpu", mmap=True, weights_only=True))


def _progress_of(state: Mapping[str, Any]) -> Progress:
    return TypeAdapter(Progress).validate_python(state["progress"])


def kept_epoch(run: Path) -> int:
    """The epoch whose weights are in best.safetensors; 0 if there are none. Raises UserError for a damaged file."""
    file = run / BEST
    if not file.is_file():
        return 0
    try:
        with safe_open(file, framework="pt") as weights:
            return int((weights.metadata() or {}).get("epoch", 0))
    except SafetensorError as error:
        raise UserError(
            f"{file}: damaged ({first_line(error)}). Restore the file, or delete {file.parent} to start this run over "
            "from its first step."
        ) from error


def restore_model(run: Path, model: nn.Module, device: torch.device) -> None:
    """Loads the weights of last.pt into `model`, nothing else. Raises UserError if it does not fit."""
    with _reading(run / LAST, device) as state:
        load_all(model, state["model"])


@contextmanager
def _reading(path: Path, device: torch.device) -> Iterator[dict[str, Any]]:
    """The contents of last.pt. Errors while they are used become a UserError that names the file."""
    try:
        yield load_tensors(path, device)
    except Exception as error:
        reason = first_line(error)
        raise UserError(
            f"{path}: not a checkpoint of this run ({reason}). Delete {path.parent} to start this run over from its "
            "first step."
        ) from error
