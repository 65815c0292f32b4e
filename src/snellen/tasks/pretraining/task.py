"""Pretraining: its loss over two views, and the evaluation of its features between epochs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from snellen import ranks
from snellen.data.feed import Feed, order
from snellen.data.views import ViewBatch
from snellen.engine.task import Autocast
from snellen.insight.knn import knn_probabilities
from snellen.insight.linear_probe import linear_probe
from snellen.insight.separability import effective_rank
from snellen.run.writer import RunWriter
from snellen.tasks.classification.record import CORRECT, Snapshot, write_snapshot, write_validation
from snellen.tasks.pretraining.evaluation import COLUMNS, Representation, extract, suspicious, training_deviation
from snellen.tasks.pretraining.methods.method import Method, projection_deviation
from snellen.tasks.pretraining.recipe import RepresentationSpec

_SAMPLED = 2000  # images for the deviation and rank of the features


@dataclass(frozen=True)
class Labelled:
    """Labelled images as evaluation sees them. known: those that k-NN and probe learn from. classes: C."""

    known: Feed
    scored: Feed
    classes: int


@dataclass(frozen=True)
class _SnapshotImages:
    """The images of the snapshots at the last evaluation."""

    features: NDArray[np.float32]
    probabilities: NDArray[np.float32]


class Pretraining:
    """Two views of one image, no labels.

    writer: of the run, for weights, predictions and snapshots. plain: training images as evaluation sees them.
    labelled: None if there are no labels. rows: (n,) int64, the scored images whose features go into snapshots. seed:
    of the linear probe's split.
    """

    train_metric = "projection_deviation"
    columns = COLUMNS
    records = (CORRECT,)
    measure = "k-NN top-1"
    uses_all_parameters = True

    def __init__(
        self,
        writer: RunWriter,
        spec: RepresentationSpec,
        plain: Feed,
        labelled: Labelled | None,
        rows: NDArray[np.int64],
        seed: int,
    ) -> None:
        self._writer = writer
        self._spec = spec
        self._plain = plain
        self._labelled = labelled
        self._rows = rows
        self._seed = seed
        self._step = self._total = 0
        self._last: _SnapshotImages | None = None

    def loss(self, model: nn.Module, batch: ViewBatch) -> tuple[Tensor, Tensor]:
        """The method's loss, a scalar, and the deviation of the projections times the number of images."""
        loss, projections = model(batch.first, batch.second)
        return loss, projection_deviation(ranks.joined(projections)) * len(batch)

    def weight(self, batch: ViewBatch) -> float:
        """Images. The loss is of the whole batch in every process."""
        return len(batch)

    def after_step(self, model: Method, step: int, total: int) -> None:
        """Moves the method's target network."""
        self._step, self._total = step, total
        model.after_step(step, total)

    @property
    def evaluated_images(self) -> int:
        """The number of images in an evaluation."""
        if self._labelled is None:
            return min(_SAMPLED, self._plain.count)
        return self._labelled.known.count + self._labelled.scored.count

    def evaluate(self, model: Method, autocast: Autocast, limit: int | None = None) -> Representation:
        """Evaluates the features on at most `limit` images of each kind. `model` is left in evaluation mode."""
        model.eval()
        labelled, spec = self._labelled, self._spec
        if labelled is None:
            count = min(_SAMPLED, self._plain.count)
            features, target = extract(model.backbone, self._plain.evaluate(_first(count, limit), dealt=True), autocast)
            return self._representation(
                model, autocast, features, by_knn=None, probed=None, target=target, images=len(features)
            )
        references = _first(labelled.known.count, limit)
        known, labels = extract(model.backbone, labelled.known.evaluate(references, dealt=True), autocast)
        rows = _first(labelled.scored.count, limit)
        features, target = extract(model.backbone, labelled.scored.evaluate(rows, dealt=True), autocast)
        by_knn = knn_probabilities(known, labels, features, labelled.classes, spec.neighbours, spec.temperature)
        is_last = 0 < self._step == self._total and limit is None
        probed = None
        wants_probe = spec.probe == "always" or (spec.probe == "last" and is_last)
        if wants_probe and np.isfinite(known).all() and np.isfinite(features).all():  # else `finite` is False
            probed = linear_probe(known, labels, features, labelled.classes, self._seed)
        if limit is None:
            self._last = _SnapshotImages(features[self._rows], by_knn[self._rows])
        images = len(known) + len(features)
        return self._representation(
            model, autocast, features, by_knn=by_knn, probed=probed, target=target, images=images
        )

    def _representation(
        self,
        model: Method,
        autocast: Autocast,
        features: NDArray[np.float32],
        by_knn: NDArray[np.float32] | None,
        probed: NDArray[np.float32] | None,
        target: NDArray[np.int64],
        images: int,
    ) -> Representation:
        sample = torch.from_numpy(features[:_SAMPLED])
        with torch.inference_mode():
            projections = model.projector(sample.to(next(model.parameters()).device))
        deviation = float(projection_deviation(projections))
        in_training = None
        if suspicious(deviation):
            rows = order(self._seed, 0, self._plain.count)[: min(_SAMPLED, len(features))]
            batches = self._plain.evaluate(rows.numpy())
            in_training = training_deviation(model, batches, autocast)
        return Representation(
            feature_deviation=float(projection_deviation(sample)),
            projection_deviation=deviation,
            effective_rank=effective_rank(sample.numpy()),
            probabilities=by_knn,
            probed=probed,
            target=target,
            images=images,
            stops=self._spec.collapse == "stop",
            training_deviation=in_training,
        )

    def weights(self, model: Method) -> nn.Module:
        """The backbone, without the heads."""
        return model.backbone

    def keep(self, model: Method, evaluation: Representation, epoch: int) -> None:
        """Writes best.safetensors, the backbone alone, and the k-NN predictions."""
        self._writer.weights("checkpoints/best.safetensors", model.backbone, {"epoch": str(epoch)})
        if evaluation.probabilities is None:
            return
        write_validation(self._writer, evaluation.probabilities, evaluation.target, epoch)

    def snapshot(self, model: Method, autocast: Autocast, epoch: int) -> None:
        """Writes the features and k-NN probabilities of the chosen scored images, from the evaluation just before."""
        if self._labelled is None:
            return
        assert self._last is not None
        write_snapshot(self._writer, Snapshot(self._last.features, self._rows, self._last.probabilities, epoch))


def _first(count: int, limit: int | None) -> NDArray[np.int64]:
    return np.arange(count if limit is None else min(limit, count))
