"""What the training loop asks of a task, its batches and its scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from numpy.typing import NDArray

Autocast = Callable[[], AbstractContextManager[Any]]  # makes the context of a forward pass


class Examples(Protocol):
    """The data of one optimiser step."""

    @property
    def whole(self) -> int | None:
        """How many images it has in all processes; None: as many as here."""

    def __len__(self) -> int:
        """How many images."""

    def split(self, parts: int) -> Sequence[Any]:
        """The batch in nearly equal parts, at most `parts` of them, for gradient accumulation."""


class Source(Protocol):
    """The source of batches."""

    @property
    def steps(self) -> int:
        """Batches in an epoch."""

    @property
    def device(self) -> torch.device:
        """The device that they are on."""

    def train(self, epoch: int, start: int = 0) -> Iterator[Any]:
        """The batches of an epoch (counted from 1), from step `start` (counted from 0) on."""


class Evaluation(Protocol):
    """A task's scores of the network after an epoch."""

    @property
    def quality(self) -> float:
        """What an epoch is chosen by; more is better."""

    @property
    def images(self) -> int:
        """The number of images evaluated."""

    @property
    def per_image(self) -> Sequence[NDArray[Any]]:
        """(N, …) results for every scored image, one array for each of the task's records; empty if none are kept."""

    @property
    def finite(self) -> bool:
        """Whether all outputs of the network are finite."""

    @property
    def fatal(self) -> str | None:
        """Why the run must stop, as text; None if it may continue."""

    def row(self) -> dict[str, float]:
        """The columns of epochs.csv that the task adds."""

    def text(self) -> str:
        """The same in a short text."""


class Task(Protocol):
    """What a task must offer to be trained."""

    @property
    def train_metric(self) -> str:
        """What `loss` also sums up, such as "top1": the column train_top1 is its mean over images."""

    @property
    def columns(self) -> Sequence[str]:
        """Names of what `Evaluation.row` holds, in the order of epochs.csv."""

    @property
    def records(self) -> Sequence[str]:
        """The append-only files that take `Evaluation.per_image` of every scored epoch, relative to the run."""

    @property
    def measure(self) -> str:
        """What the run is scored by: the name of `Evaluation.quality`, such as "top-1"."""

    @property
    def uses_all_parameters(self) -> bool:
        """Whether every trained parameter takes part in the loss."""

    def loss(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        """The scalar to minimise, and the sum of the training metric over the batch's images."""

    def weight(self, batch: Any) -> Tensor | float:
        """What the mean loss of the batch is a mean over: so much it counts beside the other parts of its step."""

    def after_step(self, model: Any, step: int, total: int) -> None:
        """Called after each optimiser step: the `step`-th, counted from 1, of `total`."""

    def evaluate(self, model: Any, autocast: Autocast, limit: int | None = None) -> Evaluation:
        """Scores on the images that are scored, or on the first `limit` of them."""

    @property
    def evaluated_images(self) -> int:
        """The number of images in an evaluation."""

    def weights(self, model: Any) -> nn.Module:
        """The part of the network whose weights a run saves."""

    def keep(self, model: Any, evaluation: Any, epoch: int) -> None:
        """Writes weights and predictions of the epoch that is now the chosen one."""

    def snapshot(self, model: Any, autocast: Autocast, epoch: int) -> None:
        """Writes the features of chosen images."""
