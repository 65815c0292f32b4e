"""Pretraining: what is minimised over two views, and what is looked at between epochs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from snellen.data.feed import Feed, order
from snellen.data.views import ViewBatch
from snellen.engine.loop import Autocast
from snellen.insight.knn import knn_probabilities
from snellen.insight.linear_probe import linear_probe
from snellen.insight.separability import effective_rank
from snellen.run.writer import RunWriter
from snellen.tasks.classification.record import CORRECT, Snapshot, write_snapshot, write_validation
from snellen.tasks.pretraining.evaluation import COLUMNS, Representation, extract, suspicious, training_deviation
from snellen.tasks.pretraining.methods.method import Method, projection_deviation
from snellen.tasks.pretraining.recipe import RepresentationSpec

_LOOKED_AT = 2000  # images whose features tell deviation and rank


@dataclass(frozen=True)
class Labelled:
    """Images that are known and images that are scored, as evaluation shows them. classes: C."""

    known: Feed
    scored: Feed
    classes: int


@dataclass(frozen=True)
class _Looked:
    """What the last look saw of the images of the snapshots."""

    features: NDArray[np.float32]
    probabilities: NDArray[np.float32]


class Pretraining:
    """Two views of one image, no labels.

    writer: of the run that weights, predictions and snapshots go to. plain: training images as evaluation shows them.
    labelled: None where there are no labels. rows: (n,) int64, which of the scored images features are kept of.
    seed: of the linear probe's split.
    """

    train_metric = "projection_deviation"
    columns = COLUMNS
    records = (CORRECT,)
    measure = "k-NN top-1"

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
        self._done = self._total = 0
        self._looked: _Looked | None = None

    def loss(self, model: nn.Module, batch: ViewBatch) -> tuple[Tensor, Tensor]:
        """The method's loss, a scalar, and the deviation of the projections times the number of images."""
        loss, projections = model(batch.first, batch.second)
        return loss, projection_deviation(projections) * len(batch)

    def share(self, part: ViewBatch, whole: ViewBatch) -> float:
        """By images."""
        return len(part) / len(whole)

    def after_step(self, model: Method, done: int, total: int) -> None:
        """Moves the method's target network."""
        self._done, self._total = done, total
        model.after_step(done, total)

    @property
    def evaluated_images(self) -> int:
        """How many images a look takes."""
        if self._labelled is None:
            return min(_LOOKED_AT, self._plain.count)
        return self._labelled.known.count + self._labelled.scored.count

    def evaluate(self, model: Method, autocast: Autocast, limit: int | None = None) -> Representation:
        """A look at the features; of at most `limit` images of each kind. `model` is left in evaluation mode."""
        model.eval()
        labelled, spec = self._labelled, self._spec
        if labelled is None:
            most = min(_LOOKED_AT, self._plain.count)
            features, target = extract(model.backbone, self._plain.evaluate(_first(most, limit)), autocast)
            return self._representation(model, autocast, features, None, None, target, len(features))
        known, labels = extract(model.backbone, labelled.known.evaluate(_first(labelled.known.count, limit)), autocast)
        rows = _first(labelled.scored.count, limit)
        features, target = extract(model.backbone, labelled.scored.evaluate(rows), autocast)
        by_knn = knn_probabilities(known, labels, features, labelled.classes, spec.neighbours, spec.temperature)
        last = 0 < self._done == self._total and limit is None
        probed = None
        fitted = spec.probe == "always" or (spec.probe == "last" and last)
        if fitted and np.isfinite(known).all() and np.isfinite(features).all():  # `finite` says so otherwise
            probed = linear_probe(known, labels, features, labelled.classes, self._seed).probabilities
        if limit is None:
            self._looked = _Looked(features[self._rows], by_knn[self._rows])
        return self._representation(model, autocast, features, by_knn, probed, target, len(known) + len(features))

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
        shown = torch.from_numpy(features[:_LOOKED_AT])
        with torch.inference_mode():
            projections = model.projector(shown.to(next(model.parameters()).device))
        deviation = float(projection_deviation(projections))
        in_training = None
        if suspicious(deviation):
            drawn = order(self._seed, 0, self._plain.count)[: min(_LOOKED_AT, len(features))]
            batches = self._plain.evaluate(drawn.numpy())
            in_training = training_deviation(model, batches, autocast)
        return Representation(
            float(projection_deviation(shown)),
            deviation,
            effective_rank(shown.numpy()),
            by_knn,
            probed,
            target,
            images,
            self._spec.collapse == "stop",
            in_training,
        )

    def weights(self, model: Method) -> nn.Module:
        """The backbone: the heads have done their work."""
        return model.backbone

    def keep(self, model: Method, evaluation: Representation, epoch: int) -> None:
        """Writes best.safetensors, the backbone alone, and the k-NN predictions."""
        self._writer.weights("checkpoints/best.safetensors", model.backbone, {"epoch": str(epoch)})
        if evaluation.probabilities is None:
            return
        write_validation(self._writer, evaluation.probabilities, evaluation.target, epoch)

    def snapshot(self, model: Method, autocast: Autocast, epoch: int) -> None:
        """Writes the features of the chosen scored images, and what k-NN says of them, as the look just before saw."""
        if self._labelled is None:
            return
        assert self._looked is not None
        looked = self._looked
        write_snapshot(self._writer, Snapshot(looked.features, self._rows, looked.probabilities, epoch))


def _first(count: int, limit: int | None) -> NDArray[np.int64]:
    return np.arange(count if limit is None else min(limit, count))
