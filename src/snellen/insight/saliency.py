"""Whether saliency maps come from what a network has learnt."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def rank_correlations(maps: NDArray[np.float32], others: NDArray[np.float32]) -> list[float | None]:
    """Spearman's correlation of each of (B, H, W) maps with its counterpart, over the pixels; None if one is constant.

    With maps of the same network with random weights: near 0 if a map depends on what was learnt; near 1 if it shows
    what any such network shows of the image, such as its edges. Source: Adebayo et al. 2018, arXiv 1810.03292.
    """
    return [_spearman(a.ravel(), b.ravel()) for a, b in zip(maps, others, strict=True)]


def _spearman(a: NDArray[np.float32], b: NDArray[np.float32]) -> float | None:
    from scipy.stats import spearmanr

    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    correlation = float(spearmanr(a, b).statistic)
    return correlation if math.isfinite(correlation) else None
