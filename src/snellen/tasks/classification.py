"""Classification: what is minimised in training, and what is scored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from snellen.data.augment.pipeline import EvaluationTransformSpec
from snellen.data.feed import Batch
from snellen.models.classifier import Classifier
from snellen.spec import Spec
from snellen.tasks.losses import LossSpec, compute_loss


class EvaluationSpec(EvaluationTransformSpec):
    """How validation images are shown to the network, how often they are scored, and which epoch is kept."""

    every: int = Field(1, ge=1, description="Epochs between two evaluations; the last epoch is always scored.")
    choose: Literal["best", "last"] = Field(
        "best",
        description="Which epoch is the run's result: the one with the best validation top-1 (the report then "
        "estimates the optimism of that choice), or the last.",
    )
    flip: bool = Field(False, description="Score the mean of the logits of an image and of its mirror image.")


class SnapshotSpec(Spec):
    """Features of the same validation images after several epochs."""

    images: int = Field(1000, ge=0, description="Validation images whose features are kept, drawn once; 0 for none.")
    epochs: tuple[int, ...] | None = Field(
        None, description="Epochs, counted from 1. None: the first, the middle and the last."
    )

    def due(self, total: int) -> set[int]:
        """The epochs of a run of `total` epochs after which features are kept."""
        if self.images == 0:
            return set()
        return {1, (total + 1) // 2, total} if self.epochs is None else {e for e in self.epochs if e <= total}


@dataclass(frozen=True)
class Scores:
    """What a network says of a set of images, in their order.

    probabilities: (N, C) float32, rows sum to 1. target: (N,) int64. loss: mean cross-entropy over the images, nats.
    """

    probabilities: NDArray[np.float32]
    target: NDArray[np.int64]
    loss: float

    @property
    def correct(self) -> NDArray[np.bool_]:
        """(N,) whether the most probable class is the image's own."""
        return cast("NDArray[np.bool_]", self.probabilities.argmax(1) == self.target)


class Classification:
    """One image, one class."""

    def __init__(self, loss: LossSpec, flip: bool) -> None:
        self._loss = loss
        self._flip = flip

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss to minimise, a scalar, and how many images of the batch were right, an int64 scalar."""
        logits = model(batch.images).float()  # (B, C)
        target = batch.target if batch.soft is None else batch.soft
        dominant = batch.target if batch.soft is None else batch.soft.argmax(1)
        correct = (logits.detach().argmax(1) == dominant).sum()
        return compute_loss(self._loss, logits, target), correct

    @torch.inference_mode()
    def evaluate(self, model: Classifier, batches: Iterator[Batch], autocast: AbstractContextManager[None]) -> Scores:
        """Scores of the images of `batches`; `model` is left in evaluation mode."""
        model.eval()
        logits, targets = [], []
        with autocast:
            for batch in batches:
                logits.append(self.logits(model, batch.images))
                targets.append(batch.target)
        every = torch.cat(logits)
        target = torch.cat(targets)
        loss = nn.functional.cross_entropy(every.double(), target, reduction="sum") / max(1, len(target))
        return Scores(every.softmax(1).cpu().numpy(), target.cpu().numpy(), loss.item())

    def logits(self, model: Classifier, images: Tensor) -> Tensor:
        """(B, C) float32 logits as they are scored: of the image, or of it and its mirror image."""
        logits: Tensor = model(images).float()
        return (logits + model(images.flip(-1)).float()) / 2 if self._flip else logits

    @torch.inference_mode()
    def features(
        self, model: Classifier, batches: Iterator[Batch], autocast: AbstractContextManager[None]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Pooled backbone features (n, D) and probabilities (n, C) of the images of `batches`, unmirrored."""
        model.eval()
        features, probabilities = [], []
        with autocast:
            for batch in batches:
                pooled = model.features(batch.images)
                features.append(pooled.float().cpu())
                probabilities.append(model.head(pooled).float().softmax(1).cpu())
        return torch.cat(features).numpy(), torch.cat(probabilities).numpy()
