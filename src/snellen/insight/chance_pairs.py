"""Which distances between pictures are too small to be those of different pictures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_RATE = 0.02  # of false pairs among those that are reported, as calculated
_LARGEST_DIMENSION = 12.0  # Beyond, the neighbours' distances hardly differ, and it is unknown: the smaller is careful.


def dimension(neighbours: NDArray[np.float64]) -> float:
    """The power with which the number of different pictures within a distance of one grows, at most 12.

    neighbours: (M, K) distances of M pictures from their K nearest among some different pictures, ascending. The
    maximum-likelihood estimate, over all M: (K - 1) M / sum of log(r_K / r_k) over the k < K (Levina & Bickel 2004,
    with MacKay & Ghahramani's mean of the inverses). 1 at least, and for fewer than three neighbours.
    """
    pictures, count = neighbours.shape
    if count < 3 or not pictures:
        return 1.0
    logs = np.log(np.maximum(neighbours[:, -1:], 1e-6) / np.maximum(neighbours[:, :-1], 1e-6))
    return float(np.clip((count - 1) / max(logs.sum(1).mean(), 1e-6), 1.0, _LARGEST_DIMENSION))


def expected_nearer(
    distance: NDArray[np.float64], neighbours: NDArray[np.float64], power: float, density: float
) -> NDArray[np.float64]:
    """(N,) how many different pictures of the set are expected within `distance` of a picture.

    distance: (N,). neighbours: (N, K) as in `dimension`, for each of these pictures. power: of `dimension`. density:
    pictures of the set per picture that the neighbours were taken from, at least 1. With r_K the farthest of the K,
    density * K * (distance / r_K) ** power.
    """
    count = neighbours.shape[1]
    return np.asarray(density * count * (distance / np.maximum(neighbours[:, -1], 1e-6)) ** power)


def significant(expected: NDArray[np.float64], pictures: int) -> NDArray[np.bool_]:
    """(N,) which pairs are no chance. If `expected` is right, at most 2% of these are expected to be false.

    expected: (N,) of each pair. pictures: of the set. The step-up rule of Benjamini & Hochberg (1995): among n pictures
    n * expected / 2 pairs are that near by chance.
    """
    order = np.argsort(expected, kind="stable")
    allowed = expected[order] * pictures / 2 <= _RATE * np.arange(1, len(expected) + 1)
    last = np.flatnonzero(allowed)
    result = np.zeros(len(expected), dtype=bool)
    if len(last):
        result[order[: last[-1] + 1]] = True
    return result
