"""How well features separate the classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_NEIGHBOURS = 20


@dataclass(frozen=True)
class Separability:
    """knn: leave-one-out accuracy in [0, 1] of the k nearest by cosine. silhouette: in [-1, 1], by cosine.

    effective_rank: how many directions the features use, in [1, D]. NaN if there are too few images.
    """

    knn: float
    neighbours: int
    silhouette: float
    effective_rank: float


def separability(features: NDArray[np.float32], labels: NDArray[np.int64]) -> Separability:
    """Figures of (n, D) features with (n,) labels.

    Sources: silhouette, Rousseeuw 1987; effective rank, Roy & Vetterli 2007: exp of the entropy of the singular values
    of the centred features, scaled to sum to 1.
    """
    from sklearn.metrics import silhouette_score

    count, classes = len(features), len(np.unique(labels))
    # Among more neighbours than a class has, an image left out is outvoted by the other classes, however well they lie.
    neighbours = min(_NEIGHBOURS, max(1, count // max(1, classes) - 1), count - 1)
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features / np.maximum(norms, 1e-12)
    silhouette = float("nan")
    if 2 <= classes <= count - 1:
        silhouette = float(silhouette_score(unit, labels, metric="cosine"))
    knn = _leave_one_out(unit, labels, neighbours) if neighbours >= 1 else float("nan")
    return Separability(knn, neighbours, silhouette, effective_rank(features))


def effective_rank(features: NDArray[np.float32]) -> float:
    """exp(entropy) of the singular values of the centred (n, D) features; 1 where all are the same.

    NaN if a feature is not finite.
    """
    if not np.isfinite(features).all():
        return float("nan")
    values = np.linalg.svd(features.astype(np.float64) - features.mean(0), compute_uv=False)
    if values.sum() <= 1e-12:
        return 1.0
    share = values / values.sum()
    share = share[share > 0]
    return float(np.exp(-(share * np.log(share)).sum()))


def _leave_one_out(unit: NDArray[np.float32], labels: NDArray[np.int64], neighbours: int) -> float:
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -np.inf)
    nearest = np.argpartition(-similarity, neighbours - 1, axis=1)[:, :neighbours]
    classes = int(labels.max()) + 1
    votes = np.zeros((len(labels), classes))
    rows = np.arange(len(labels))[:, None]
    # Similarity weighs a vote, and so breaks ties.
    np.add.at(votes, (rows, labels[nearest]), 1 + 1e-3 * similarity[rows, nearest])
    return float((votes.argmax(1) == labels).mean())
