"""Measures of the quality of features learnt without labels."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from snellen import ranks
from snellen.data.feed import Batch
from snellen.engine.task import Autocast
from snellen.tasks.pretraining.methods.method import Method, projection_deviation

COLUMNS = ("feature_deviation", "projection_deviation", "effective_rank", "knn_top1", "probe_top1")
_COLLAPSED = 0.1


@dataclass(frozen=True)
class Representation:
    """One evaluation of the features.

    feature_deviation, projection_deviation: in [0, 1], as `projection_deviation` defines it. training_deviation: of the
    projections with batch statistics, as in training; None if the other is far from a collapse. effective_rank: of the
    features, in [1, D]. probabilities, probed: (N, C) float32 by k-NN and by linear probe, None if not computed.
    target: (N,) int64. images: how many were sent through the network. stops: whether a collapse stops the run.
    """

    feature_deviation: float
    projection_deviation: float
    effective_rank: float
    probabilities: NDArray[np.float32] | None
    probed: NDArray[np.float32] | None
    target: NDArray[np.int64]
    images: int
    stops: bool
    training_deviation: float | None = None

    @property
    def correct(self) -> NDArray[np.bool_] | None:
        """(N,) which scored images k-NN has right."""
        return None if self.probabilities is None else np.asarray(self.probabilities.argmax(1) == self.target)

    @property
    def per_image(self) -> tuple[NDArray[np.bool_], ...]:
        """`correct`, one byte per image."""
        return () if self.correct is None else (self.correct,)

    @property
    def quality(self) -> float:
        """k-NN top-1; NaN if there are no labels."""
        return math.nan if self.correct is None else float(self.correct.mean())

    @property
    def finite(self) -> bool:
        """Whether features, projections and k-NN probabilities are finite."""
        figures = (self.feature_deviation, self.projection_deviation, self.effective_rank)
        finite_votes = self.probabilities is None or bool(np.isfinite(self.probabilities).all())
        return finite_votes and all(math.isfinite(figure) for figure in figures)

    @property
    def collapsed(self) -> bool:
        """Whether all projections point the same way, in training too.

        After few steps the running statistics of batch-norm are still close to their initial values, so the projections
        of a healthy network look alike in evaluation mode.
        """
        return suspicious(self.projection_deviation) and (
            self.training_deviation is None or suspicious(self.training_deviation)
        )

    @property
    def fatal(self) -> str | None:
        """The collapse, if the recipe lets it stop the run."""
        if not (self.collapsed and self.stops):
            return None
        return (
            "the representation has collapsed: all projections point the same way (deviation "
            f"{self.projection_deviation:.3f} of 1), so nothing more is learnt. A lower optimizer.lr or a larger "
            "batch_size usually helps; to continue anyway: evaluation.collapse=warn"
        )

    def row(self) -> dict[str, float]:
        """Figures by the names of COLUMNS."""
        figures = {
            "feature_deviation": self.feature_deviation,
            "projection_deviation": self.projection_deviation,
            "effective_rank": self.effective_rank,
        }
        if self.probabilities is not None:
            figures["knn_top1"] = self.quality
        if self.probed is not None:
            figures["probe_top1"] = float((self.probed.argmax(1) == self.target).mean())
        return figures

    def text(self) -> str:
        """The figures as text."""
        row = self.row()
        parts = [f"feature deviation {row['feature_deviation']:.2f}, effective rank {row['effective_rank']:.1f}"]
        parts += [f"k-NN top-1 {row['knn_top1']:.2%}"] if "knn_top1" in row else []
        parts += [f"linear probe {row['probe_top1']:.2%}"] if "probe_top1" in row else []
        parts += ["COLLAPSED: all projections point the same way"] if self.collapsed else []
        return ", ".join(parts)


def suspicious(deviation: float) -> bool:
    """Whether projections of this deviation nearly all point the same way."""
    return deviation < _COLLAPSED


@torch.no_grad()
def training_deviation(model: Method, batches: Iterator[Batch], autocast: Autocast) -> float:
    """The deviation of the projections in training mode, the mean over batches; `model` stays as it is.

    Batches of one image are skipped, since batch-norm needs more. NaN if there are no others.
    """
    trained = nn.Sequential(copy.deepcopy(model.backbone), copy.deepcopy(model.projector)).train()
    deviations = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # dropout, stochastic depth
        for batch in batches:
            if len(batch) < 2:
                continue
            with autocast():
                projections = trained(batch.images)
            deviations.append(float(projection_deviation(projections)))
    return float(np.mean(deviations)) if deviations else math.nan


@torch.inference_mode()
def extract(
    backbone: nn.Module, batches: Iterator[Batch], autocast: Autocast
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(N, D) pooled features and (N,) targets of the images of `batches`, in their order, in evaluation mode.

    With several processes, `batches` are those dealt to this one, and the features are those of all.
    """
    backbone.eval()
    features, targets = [], []
    for batch in batches:
        with autocast():
            pooled = backbone(batch.images)
        features.append(pooled.float().cpu())
        targets.append(batch.target.cpu())
    return ranks.in_order(features).numpy(), ranks.in_order(targets).numpy()
