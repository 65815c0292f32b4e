"""Pixel counts behind the boundary F-score."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from snellen.data.masks.classes import IGNORE

_CLASSES_AT_ONCE = 31  # bits of an int32 without its sign


def boundary_counts(
    prediction: Tensor, target: Tensor, classes: int, tolerance: int, rows: slice = slice(None)
) -> Tensor:
    """(B, C, 4) int64: predicted boundary pixels of each class, of these matched, true ones, of these matched.

    prediction, target: (B, H, W) integers in [0, C), the target also 255 (ignored). rows: where boundary pixels are
    counted; given tolerance + 1 more rows on either side, a part gives the counts of the whole. A pixel is on the
    boundary of its class if one of its four neighbours is of another class; ignored pixels do not count as neighbours
    and have none. It is matched if the other mask has a boundary pixel of the same class within
    `tolerance` pixels (Euclidean).
    Source of the measure: Csurka et al. 2013, BMVC, "What is a good evaluation measure for semantic segmentation?".
    """
    predicted, truth = prediction.where(target != IGNORE, IGNORE).byte(), target.byte()
    predicted_edges, true_edges = _on_boundary(predicted), _on_boundary(truth)
    counts = torch.zeros(len(target), classes, 4, dtype=torch.int64, device=target.device)
    for first_class in range(0, classes, _CLASSES_AT_ONCE):
        block = min(_CLASSES_AT_ONCE, classes - first_class)
        # One bit for each class: widening the integers once by the tolerance widens the boundaries of the whole block.
        prediction_bits = _class_bits(predicted_edges, predicted, first_class, block)
        truth_bits = _class_bits(true_edges, truth, first_class, block)
        near_prediction, near_truth = _widened(prediction_bits, tolerance), _widened(truth_bits, tolerance)
        columns = [
            *_count(prediction_bits[:, rows], near_truth[:, rows], predicted[:, rows], first_class, block),
            *_count(truth_bits[:, rows], near_prediction[:, rows], truth[:, rows], first_class, block),
        ]
        counts[:, first_class : first_class + block] = torch.stack(columns, dim=2)
    return counts


def _count(bits: Tensor, near_other: Tensor, labels: Tensor, first_class: int, classes: int) -> tuple[Tensor, Tensor]:
    """(B, classes) boundary pixels of each class of a block, and how many of them are near the other mask's boundary.

    bits: (B, H, W) as `_class_bits`. near_other: the other mask's bits, widened. labels: the class of each pixel.
    """
    images = len(bits)
    positions = bits.flatten().nonzero()[:, 0]  # few pixels are on a boundary
    image = positions // bits[0].numel()
    cells = image * classes + labels.flatten()[positions].long() - first_class
    is_matched = (bits.flatten()[positions] & near_other.flatten()[positions]) != 0
    pixels = torch.bincount(cells, minlength=images * classes)
    matched = torch.bincount(cells[is_matched], minlength=images * classes)
    return pixels.reshape(images, classes), matched.reshape(images, classes)


def _class_bits(edges: Tensor, labels: Tensor, first_class: int, classes: int) -> Tensor:
    """(B, H, W) integers: bit c is set if a pixel is on the boundary of class first_class + c."""
    dtype = torch.int16 if classes < 16 else torch.int32
    table = torch.zeros(IGNORE + 1, dtype=dtype, device=labels.device)
    table[first_class : first_class + classes] = torch.tensor([1 << index for index in range(classes)], dtype=dtype)
    return table[labels.int()].mul_(edges)


def _on_boundary(labels: Tensor) -> Tensor:
    """(B, H, W) bool: whether a pixel is on the boundary of its class."""
    edge = torch.zeros_like(labels, dtype=torch.bool)
    for axis in (1, 2):
        length = labels.shape[axis] - 1
        before, after = labels.narrow(axis, 0, length), labels.narrow(axis, 1, length)
        differ = (before != after) & (before != IGNORE) & (after != IGNORE)
        edge.narrow(axis, 0, length).logical_or_(differ)
        edge.narrow(axis, 1, length).logical_or_(differ)
    return edge


def _widened(bits: Tensor, radius: int) -> Tensor:
    """Every bit spread over the disc of `radius` pixels around it: along rows first, then along columns."""
    widths = [math.isqrt(radius**2 - row**2) for row in range(radius + 1)]
    rows = {0: bits}
    for width in range(1, radius + 1):
        rows[width] = rows[width - 1].clone()
        _add_shifted(rows[width], bits, 2, width)
    out = rows[radius].clone()
    for row in range(1, radius + 1):
        _add_shifted(out, rows[widths[row]], 1, row)
    return out


def _add_shifted(out: Tensor, bits: Tensor, axis: int, shift: int) -> None:
    """Sets in `out` the bits shifted by `shift` pixels in both directions of an axis."""
    length = bits.shape[axis] - shift
    if length > 0:
        out.narrow(axis, shift, length).bitwise_or_(bits.narrow(axis, 0, length))
        out.narrow(axis, 0, length).bitwise_or_(bits.narrow(axis, shift, length))
