"""Classes of images by their nearest labelled neighbours in feature space."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

_CHUNK = 256  # queries at once: a chunk's similarities to 50,000 images are 50 MB


def knn_probabilities(
    bank: NDArray[np.float32],
    labels: NDArray[np.int64],
    queries: NDArray[np.float32],
    classes: int,
    neighbours: int = 20,
    temperature: float = 0.07,
) -> NDArray[np.float32]:
    """Weighted vote of the nearest by cosine: each neighbour counts exp(cosine / temperature) for its class.

    bank: (M, D) features with labels (M,) in [0, classes). queries: (N, D). neighbours: at most M are used.
    Returns (N, classes) float32, rows sum to 1. Source: Wu et al. 2018, arXiv 1805.01978, sec. 3.4.
    """
    import torch
    from torch.nn import functional as F

    bank_features = F.normalize(torch.from_numpy(bank).float(), dim=1)
    bank_labels = torch.from_numpy(labels)
    query_features = F.normalize(torch.from_numpy(queries).float(), dim=1)
    votes = torch.zeros(len(query_features), classes)
    for start in range(0, len(query_features), _CHUNK):
        part = slice(start, start + _CHUNK)
        cosine, nearest = (query_features[part] @ bank_features.T).topk(min(neighbours, len(bank_features)), dim=1)
        weight = ((cosine - cosine[:, :1]) / temperature).exp()  # the nearest weighs 1: nothing overflows
        votes[part].scatter_add_(1, bank_labels[nearest], weight)
    return cast("NDArray[np.float32]", (votes / votes.sum(1, keepdim=True)).numpy())
