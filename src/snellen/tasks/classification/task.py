"""Classification: its loss in training, and its scores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from snellen import ranks
from snellen.data.feed import Batch
from snellen.engine.display import loss_text
from snellen.engine.task import Autocast
from snellen.models.classifier import Classifier
from snellen.run.writer import RunWriter
from snellen.tasks.classification.losses import compute_loss
from snellen.tasks.classification.recipe import LossSpec
from snellen.tasks.classification.record import Snapshot, class_file, records, write_snapshot, write_validation


@dataclass(frozen=True)
class Scores:
    """Outputs of a network for a set of images, in their order.

    logits: (N, C) float32. target: (N,) int64 in [0, C).
    """

    logits: Tensor
    target: Tensor

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """(N, C) float32, rows sum to 1."""
        return cast("NDArray[np.float32]", self.logits.softmax(1).numpy())

    @property
    def fatal(self) -> str | None:
        """No score stops the run."""
        return None

    @property
    def finite(self) -> bool:
        """Whether all logits are finite."""
        return bool(self.logits.isfinite().all())

    @property
    def images(self) -> int:
        """N."""
        return len(self.target)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """(N,) whether the most probable class is the true one."""
        return cast("NDArray[np.bool_]", (self.logits.argmax(1) == self.target).numpy())

    @property
    def per_image(self) -> tuple[NDArray[np.bool_], NDArray[np.unsignedinteger[Any]]]:
        """(N,) which images are right, a byte each; (N,) the most probable classes."""
        classes = self.logits.argmax(1).numpy()
        return self.correct, classes.astype(class_file(self.logits.shape[1])[1])

    @property
    def quality(self) -> float:
        """Top-1."""
        return float(self.correct.mean())

    def row(self) -> dict[str, float]:
        """Mean cross-entropy in nats, top-1 and top-5 (top-C if there are fewer classes), over the images."""
        loss = nn.functional.cross_entropy(self.logits.double(), self.target)
        top = self.logits.topk(min(5, self.logits.shape[1]), dim=1).indices == self.target[:, None]
        return {
            "validation_loss": loss.item(),
            "validation_top1": self.quality,
            "validation_top5": top.any(1).double().mean().item(),
        }

    def text(self) -> str:
        """Loss and top-1 as text."""
        row = self.row()
        return f"validation loss {loss_text(row['validation_loss'])}, top-1 {row['validation_top1']:.2%}"


@torch.inference_mode()
def score(model: Classifier, batches: Iterator[Batch], autocast: Autocast, flip: bool) -> Scores:
    """Scores of the images of `batches`, in their order. flip: the mean of the logits of an image and its mirror.

    With several processes, `batches` are those dealt to this one, and the scores are those of all.
    """
    model.eval()
    logits, targets = [], []
    for batch in batches:
        logits.append(scored_logits(model, batch.images, autocast, flip).cpu())
        targets.append(batch.target.cpu())
    return Scores(ranks.in_order(logits), ranks.in_order(targets))


def scored_logits(model: Classifier, images: Tensor, autocast: Autocast, flip: bool) -> Tensor:
    """(B, C) float32 logits; the head runs in fp32, since bf16 would tie classes that are close."""
    with autocast():
        pooled = model.features(images).float()
        mirrored = model.features(images.flip(-1)).float() if flip else None
    logits: Tensor = model.head(pooled)
    return logits if mirrored is None else (logits + model.head(mirrored)) / 2


class Scored(Protocol):
    """Images or features that are scored."""

    @property
    def count(self) -> int:
        """The number of images."""

    def evaluate(self, rows: NDArray[np.int64] | None = None, dealt: bool = False) -> Iterator[Batch]:
        """Batches of all of them, or of those in `rows`, in order. dealt: only those of this process."""


class Classification:
    """One class per image.

    writer: of the run, for weights, predictions and snapshots. validation: the scored images. rows: (n,) int64, those
    whose features go into snapshots. classes: C.
    """

    train_metric = "top1"
    columns = ("validation_loss", "validation_top1", "validation_top5")
    measure = "top-1"
    uses_all_parameters = True

    def __init__(
        self, writer: RunWriter, loss: LossSpec, validation: Scored, flip: bool, rows: NDArray[np.int64], classes: int
    ) -> None:
        self.records = records(classes)
        self._writer = writer
        self._loss = loss
        self._validation = validation
        self._flip = flip
        self._rows = rows

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss to minimise, a scalar, and how many images of the batch were right, an int64 scalar.

        For a mixed image, the class with the larger share counts as the right one.
        """
        logits = model(batch.images).float()  # (B, C)
        target = batch.target if batch.soft is None else batch.soft
        dominant = batch.target if batch.soft is None else batch.soft.argmax(1)
        correct = (logits.detach().argmax(1) == dominant).sum()
        return compute_loss(self._loss, logits, target), correct

    def weight(self, batch: Batch) -> float:
        """Images."""
        return len(batch)

    def after_step(self, model: Classifier, step: int, total: int) -> None:
        """Does nothing."""

    @property
    def evaluated_images(self) -> int:
        """The number of scored images."""
        return self._validation.count

    def evaluate(self, model: Classifier, autocast: Autocast, limit: int | None = None) -> Scores:
        """Scores on the validation images, or on the first `limit`; `model` is left in evaluation mode."""
        rows = None if limit is None else np.arange(min(limit, self.evaluated_images))
        return score(model, self._validation.evaluate(rows, dealt=True), autocast, self._flip)

    def weights(self, model: Classifier) -> nn.Module:
        """Backbone and head."""
        return model

    def keep(self, model: Classifier, evaluation: Scores, epoch: int) -> None:
        """Writes best.safetensors and the predictions of the epoch that is now the chosen one."""
        self._writer.weights("checkpoints/best.safetensors", model, {"epoch": str(epoch)})
        write_validation(self._writer, evaluation.probabilities, evaluation.target.numpy(), epoch)

    @torch.inference_mode()
    def snapshot(self, model: Classifier, autocast: Autocast, epoch: int) -> None:
        """Writes the pooled features and the probabilities of the chosen validation images, unmirrored."""
        model.eval()
        features, probabilities = [], []
        for batch in self._validation.evaluate(self._rows):
            with autocast():
                pooled = model.features(batch.images).float()
            features.append(pooled.cpu())
            probabilities.append(model.head(pooled).softmax(1).cpu())
        snapshot = Snapshot(torch.cat(features).numpy(), self._rows, torch.cat(probabilities).numpy(), epoch)
        write_snapshot(self._writer, snapshot)
