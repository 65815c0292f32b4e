"""Counts from which a boundary F-score is made."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from snellen.data.masks.classes import IGNORE

_CLASSES_AT_ONCE = 31  # bits of an int32, less its sign


def boundary_counts(prediction: Tensor, target: Tensor, classes: int, tolerance: int) -> Tensor:
    """(B, C, 4) int64: predicted boundary pixels of each class, of these matched, true ones, of these matched.

    prediction, target: (B, H, W) int64 in [0, C), the target also 255 (ignored). A pixel is on the boundary of its
    class when one of its four neighbours is of another class; ignored pixels are no neighbours and have none. It is
    matched when the other mask has a boundary pixel of the same class within `tolerance` pixels (Euclidean).
    Source of the measure: Csurka et al. 2013, BMVC, "What is a good evaluation measure for semantic segmentation?".
    """
    predicted = prediction.where(target != IGNORE, IGNORE)
    edges = [_on_boundary(labels) for labels in (predicted, target)]
    counts = prediction.new_zeros(len(target), classes, 4)
    for first in range(0, classes, _CLASSES_AT_ONCE):
        some = min(_CLASSES_AT_ONCE, classes - first)
        # A pixel's bit says of which class's boundary it is: all classes are widened in one pass.
        bits = [
            torch.where(
                edge & (labels >= first) & (labels < first + some), 1 << (labels - first).clamp(0, some), 0
            ).int()
            for edge, labels in zip(edges, (predicted, target), strict=True)
        ]
        wide = [_widened(each, tolerance) for each in bits]
        for place, (own, other, labels) in enumerate(((bits[0], wide[1], predicted), (bits[1], wide[0], target))):
            for offset, chosen in enumerate((own != 0, (own & other) != 0)):
                counts[:, first : first + some, 2 * place + offset] = _by_class(chosen, labels - first, some)
    return counts


def _on_boundary(labels: Tensor) -> Tensor:
    """(B, H, W) bool."""
    edge = torch.zeros_like(labels, dtype=torch.bool)
    for axis in (1, 2):
        length = labels.shape[axis] - 1
        before, after = labels.narrow(axis, 0, length), labels.narrow(axis, 1, length)
        differ = (before != after) & (before != IGNORE) & (after != IGNORE)
        edge.narrow(axis, 0, length).logical_or_(differ)
        edge.narrow(axis, 1, length).logical_or_(differ)
    return edge


def _widened(bits: Tensor, radius: int) -> Tensor:
    """Every bit spread over the disc of `radius` pixels around it: rows first, then columns of rows."""
    widths = [math.isqrt(radius**2 - row**2) for row in range(radius + 1)]
    rows = {0: bits}
    for width in range(1, radius + 1):
        rows[width] = rows[width - 1].clone()
        _add_shifted(rows[width], bits, 2, width)
    out = rows[radius].clone()
    for row in range(1, radius + 1):
        _add_shifted(out, rows[widths[row]], 1, row)
    return out


def _add_shifted(out: Tensor, bits: Tensor, axis: int, by: int) -> None:
    """Adds bits to `out` that are moved by `by` pixels, either way."""
    length = bits.shape[axis] - by
    if length > 0:
        out.narrow(axis, by, length).bitwise_or_(bits.narrow(axis, 0, length))
        out.narrow(axis, 0, length).bitwise_or_(bits.narrow(axis, by, length))


def _by_class(chosen: Tensor, labels: Tensor, classes: int) -> Tensor:
    """(B, C) int64: how many chosen pixels there are of each class."""
    images = torch.arange(len(labels), device=labels.device)[:, None, None]
    index = torch.where(chosen, images * classes + labels, len(labels) * classes)
    return torch.bincount(index.flatten(), minlength=len(labels) * classes + 1)[:-1].reshape(len(labels), classes)
