"""Descriptors of pictures: the signs of 64 low frequencies, of the picture itself and of its views."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from snellen.data.copies.small import SIDE, smooth
from snellen.data.copies.views import View, grid, views, weights

_BITS = 64
_BLOCK = 4096  # pictures at a time


@dataclass(frozen=True)
class Descriptors:
    """Of n images, for one of their pictures. base: (n,) uint64. of_views: (V, n) uint64. views: V of them."""

    base: NDArray[np.uint64]
    of_views: NDArray[np.uint64]
    views: tuple[View, ...]


def describe(pictures: NDArray[np.uint8], picture: int) -> Descriptors:
    """Descriptors of a set. pictures: (n, 2, 32, 32) uint8. picture: WHOLE or CENTRE.

    A bit says whether a frequency's coefficient exceeds its median over the set, so that what all images share, such
    as a background, sets no bit.
    """
    chosen = tuple(view for view in views() if view.picture == picture)
    basis = _basis(picture)
    count = len(pictures)
    sample = np.random.default_rng(0).choice(count, min(count, 4 * _BLOCK), replace=False)
    medians = np.median(_standardised(pictures[sample, picture], picture) @ basis.T, axis=0)
    projections = [basis, *(basis @ _sampling(view) for view in chosen)]
    words = np.empty((len(projections), count), dtype=np.uint64)
    for start in range(0, count, _BLOCK):
        rows = _standardised(pictures[start : start + _BLOCK, picture], picture)
        for number, projection in enumerate(projections):
            bits = rows @ projection.T > medians
            words[number, start : start + len(rows)] = np.packbits(bits, axis=1).view(np.uint64)[:, 0]
    return Descriptors(words[0], words[1:], chosen)


def _standardised(pictures: NDArray[np.uint8], picture: int) -> NDArray[np.float32]:
    """(n, 1024) float32 with mean 0 and variance 1 over the part that is compared."""
    values, weight = smooth(pictures).reshape(len(pictures), -1), weights(picture) / weights(picture).sum()
    values -= (values @ weight)[:, None]
    deviations = np.sqrt(np.square(values) @ weight)
    return np.asarray(values / np.maximum(deviations, 1e-3)[:, None], dtype=np.float32)


@cache
def _basis(picture: int) -> NDArray[np.float32]:
    """(64, 1024) float32: products of cosines without the constant, the lowest frequencies first."""
    steps = (np.arange(SIDE) + 0.5) * np.pi / SIDE
    order = sorted(
        ((u, v) for u in range(SIDE) for v in range(SIDE) if u or v), key=lambda uv: (uv[0] ** 2 + uv[1] ** 2, uv)
    )
    waves = np.stack([np.outer(np.cos(v * steps), np.cos(u * steps)).ravel() for u, v in order[:_BITS]])
    weight = weights(picture) / weights(picture).sum()
    waves = weight * (waves - (waves @ weight)[:, None])
    return np.asarray(waves / np.linalg.norm(waves, axis=1, keepdims=True), dtype=np.float32)


def _sampling(view: View) -> NDArray[np.float32]:
    """(1024, 1024) float32: pixels of a view, interpolated from those of the picture; outside, the nearest ones."""
    at = np.clip((view.matrix @ grid() + 1) * SIDE / 2 - 0.5, 0, SIDE - 1)
    low = np.minimum(at.astype(int), SIDE - 2)
    share = at - low
    result = np.zeros((SIDE * SIDE, SIDE * SIDE), dtype=np.float32)
    pixels = np.arange(SIDE * SIDE)
    for right in (0, 1):
        for below in (0, 1):
            weight = (share[0] if right else 1 - share[0]) * (share[1] if below else 1 - share[1])
            result[pixels, (low[1] + below) * SIDE + low[0] + right] += weight
    return result
