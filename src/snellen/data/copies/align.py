"""The alignment of pairs of small pictures, and how much of their contents remains different."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.data.copies.small import CENTRE, SIDE, details, smooth
from snellen.data.copies.views import grid, weights

_COARSE_STEPS = 5  # on every fourth pixel; one more is made on all
_FINE_STEPS = 2  # on every fourth pixel of the large pictures
_LONGEST = 0.08  # step of a parameter, in half sides
_FARTHEST = 0.25  # from the start
_LEAST_OVERLAP = 0.8
_BATCH = 64

Floats = NDArray[np.float32]
Points = NDArray[np.int64]


@dataclass(frozen=True)
class Pairs:
    """N pairs of rows of a set of pictures. picture: WHOLE or CENTRE. seen, other: (N,). matrices: (N, 2, 3), which
    view of `seen` looks like `other`."""

    picture: int
    seen: NDArray[np.int64]
    other: NDArray[np.int64]
    matrices: Floats


def align(pictures: NDArray[np.uint8], pairs: Pairs) -> tuple[NDArray[np.float64], Floats]:
    """(N,) float64 in [0, 1]: the distance of each pair, the root of 1 - r, r being the correlation of their details
    once they are aligned; (N, 2, 3) the matrices by which they are.

    pictures: (n, 2, S, S) uint8. Least squares over position and two scales (of CENTRE: position, scale and rotation)
    with a gain and an offset of the brightness, by Gauss and Newton (Lucas & Kanade 1981), from the pairs' matrices. A
    pair whose overlap is less than 80% has a distance of 1.
    """
    side = pictures.shape[-1]
    coarse, every = (np.arange(side * side).reshape(side, side)[::step, ::step].ravel() for step in (2, 1))
    steps = [coarse] * _COARSE_STEPS + [every] if side == SIDE else [coarse] * _FINE_STEPS

    def aligned(start: int) -> tuple[NDArray[np.float64], Floats]:
        batch = slice(start, start + _BATCH)
        rows, first = (pairs.seen[batch], pairs.other[batch]), pairs.matrices[batch]
        source, target = (_of_rows(smooth, pictures, row, pairs.picture) for row in rows)
        matrices = first
        for points in steps:
            matrices = _stepped(matrices, first, source, target.reshape(len(target), -1), pairs.picture, points)
        source, target = (_of_rows(details, pictures, row, pairs.picture) for row in rows)
        before, after = (_distance(source, target, views, pairs.picture) for views in (first, matrices))
        return np.minimum(before, after), np.where((after < before)[:, None, None], matrices, first)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        batches = list(pool.map(aligned, range(0, len(pairs.seen), _BATCH)))
    if not batches:
        return np.empty(0), pairs.matrices
    distances, matrices = zip(*batches, strict=True)
    return np.concatenate(distances), np.concatenate(matrices)


def _of_rows(
    function: Callable[[NDArray[np.uint8]], Floats], pictures: NDArray[np.uint8], rows: NDArray[np.int64], picture: int
) -> Floats:
    """(N, S, S): a function of the pictures of some rows. Most batches have a few pictures many times."""
    unique, inverse = np.unique(rows, return_inverse=True)
    return function(pictures[unique, picture])[inverse]


def _values(source: Floats, matrices: Floats) -> tuple[Floats, Floats]:
    """(N, S²) each, as of `_sampled`, without derivatives and several times faster: all values of the view; 1 inside
    the picture, else 0. source: (N, S, S)."""
    import torch
    from torch.nn.functional import grid_sample

    at = np.asarray(matrices @ grid(source.shape[-1]), dtype=np.float32)  # (N, 2, S²)
    inside = (np.abs(at) <= 1).all(1).astype(np.float32)
    places = torch.from_numpy(np.ascontiguousarray(at.transpose(0, 2, 1)))[:, None]  # (N, 1, S², 2)
    with torch.inference_mode():
        values = grid_sample(torch.from_numpy(source)[:, None], places, padding_mode="border", align_corners=False)
    return np.asarray(values[:, 0, 0].numpy()), np.asarray(inside)


def _sampled(source: Floats, matrices: Floats, points: Points) -> tuple[Floats, Floats, Floats, Floats]:
    """(N, P) each: values of the view, their derivatives to the right and down, and 1 inside the picture, else 0."""
    side = source.shape[-1]
    at = (matrices @ grid(side)[:, points] + 1) * np.float32(side / 2) - np.float32(0.5)  # (N, 2, P)
    inside = ((at >= -0.5) & (at <= side - 0.5)).all(1).astype(np.float32)
    at = np.clip(at, 0, np.float32(side - 1.001))
    low = at.astype(np.int32)
    x, y = (at - low).transpose(1, 0, 2)
    index = low[:, 1] * side + low[:, 0] + (np.arange(len(source), dtype=np.int32) * side * side)[:, None]
    flat = source.ravel()
    a, b, c, d = (flat[index + step] for step in (0, 1, side, side + 1))
    above, below = a + x * (b - a), c + x * (d - c)
    right = (b - a) + y * ((d - c) - (b - a))
    values, half = above + y * (below - above), np.float32(side / 2)
    return values, (right * half).astype(np.float32), ((below - above) * half).astype(np.float32), inside


def _distance(source: Floats, target: Floats, matrices: Floats, picture: int) -> NDArray[np.float64]:
    """(N,) 1 for too small an overlap. source, target: (N, S, S)."""
    side, target = source.shape[-1], target.reshape(len(target), -1)
    values, inside = _values(source, matrices)
    used, total = weights(picture, side) * inside, weights(picture, side).sum()
    overlap = used.sum(1)
    share = used / np.maximum(overlap, 1)[:, None]
    a = values - (values * share).sum(1, keepdims=True)
    b = target - (target * share).sum(1, keepdims=True)
    power = (a * a * share).sum(1, dtype=np.float64) * (b * b * share).sum(1, dtype=np.float64)
    correlation = (a * b * share).sum(1, dtype=np.float64) / np.sqrt(np.maximum(power, 1e-6))
    return np.where(overlap < _LEAST_OVERLAP * total, 1.0, np.sqrt(np.clip(1 - correlation, 0, 1)))


def _stepped(matrices: Floats, start: Floats, source: Floats, target: Floats, picture: int, points: Points) -> Floats:
    """The next matrices: one step of Gauss and Newton, by some of the points."""
    values, right, down, inside = _sampled(source, matrices, points)
    side = source.shape[-1]
    used, (x, y, _) = weights(picture, side)[points] * inside, grid(side)[:, points]
    across = right * matrices[:, 0, :1] + down * matrices[:, 1, :1]  # along the view's own axes
    along = right * matrices[:, 0, 1:2] + down * matrices[:, 1, 1:2]
    shape = (across * x + along * y, along * x - across * y) if picture == CENTRE else (across * x, along * y)
    columns = np.stack([*shape, right, down, values, np.ones_like(values)], axis=1)  # (N, 6, P)
    scales = np.abs(columns).mean(2, keepdims=True) + 1e-3
    columns /= scales
    weighted = columns * used[:, None]
    normal = weighted @ columns.transpose(0, 2, 1)
    normal += 1e-4 * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(6, dtype=np.float32)
    solution = np.linalg.solve(normal, weighted @ target[:, points, None])[..., 0] / scales[..., 0]
    gain = np.maximum(solution[:, 4:5], 0.2)  # a smaller one, or an inverted picture, is no copy
    first, second, to_right, to_bottom = np.clip(solution[:, :4] / gain, -_LONGEST, _LONGEST).T
    one, two = matrices[:, :, 0], matrices[:, :, 1]
    if picture == CENTRE:
        changes = (one * first[:, None] + two * second[:, None], two * first[:, None] - one * second[:, None])
    else:
        changes = (one * first[:, None], two * second[:, None])
    moved = matrices + np.stack([*changes, np.stack([to_right, to_bottom], axis=1)], axis=2)
    return np.asarray(np.clip(moved, start - _FARTHEST, start + _FARTHEST), dtype=np.float32)
