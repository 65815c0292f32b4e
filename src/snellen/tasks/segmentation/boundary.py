"""Counts from which a boundary F-score is made."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from snellen.data.masks.classes import IGNORE

_CLASSES_AT_ONCE = 31  # bits of an int32, less its sign


def boundary_counts(
    prediction: Tensor, target: Tensor, classes: int, tolerance: int, rows: slice = slice(None)
) -> Tensor:
    """(B, C, 4) int64: predicted boundary pixels of each class, of these matched, true ones, of these matched.

    prediction, target: (B, H, W) integers in [0, C), the target also 255 (ignored). rows: those whose boundary pixels
    are counted; with tolerance + 1 more on either side a part counts as in the whole. A pixel is on the boundary of its
    class when one of its four neighbours is of another class; ignored pixels are no neighbours and have none. It is
    matched when the other mask has a boundary pixel of the same class within `tolerance` pixels (Euclidean).
    Source of the measure: Csurka et al. 2013, BMVC, "What is a good evaluation measure for semantic segmentation?".
    """
    labels = [prediction.where(target != IGNORE, IGNORE).byte(), target.byte()]
    edges = [_on_boundary(each) for each in labels]
    counts = torch.zeros(len(target), classes, 4, dtype=torch.int64, device=target.device)
    counted_labels = [each[:, rows] for each in labels]
    for first in range(0, classes, _CLASSES_AT_ONCE):
        some = min(_CLASSES_AT_ONCE, classes - first)
        bits = [_as_bits(edge, each, first, some) for edge, each in zip(edges, labels, strict=True)]
        wide = [_widened(each, tolerance) for each in bits]
        bits, wide = ([each[:, rows] for each in masks] for masks in (bits, wide))
        for place, (own, other, each) in enumerate(zip(bits, reversed(wide), counted_labels, strict=True)):
            where = own.flatten().nonzero()[:, 0]  # few pixels are on a boundary
            cell = where // own[0].numel() * some + each.flatten()[where].long() - first
            matched = (own.flatten()[where] & other.flatten()[where]) != 0
            for offset, cells in enumerate((cell, cell[matched])):
                counted = torch.bincount(cells, minlength=len(target) * some)
                counts[:, first : first + some, 2 * place + offset] = counted.reshape(len(target), some)
    return counts


def _as_bits(edge: Tensor, labels: Tensor, first: int, some: int) -> Tensor:
    """(B, H, W) integers: bit c where a pixel is on the boundary of class first + c, so that one pass widens all."""
    kind = torch.int16 if some < 16 else torch.int32
    table = torch.zeros(IGNORE + 1, dtype=kind, device=labels.device)
    table[first : first + some] = torch.tensor([1 << place for place in range(some)], dtype=kind)
    return table[labels.int()].mul_(edge)


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
