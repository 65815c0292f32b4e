"""Boundary counts against a slow count of every pair of pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from snellen.tasks.segmentation.boundary import boundary_counts


def slow(prediction: NDArray[np.int64], target: NDArray[np.int64], classes: int, tolerance: int) -> NDArray[np.int64]:
    """(C, 4) of one image."""
    prediction = np.where(target == 255, 255, prediction)

    def boundary(labels: NDArray[np.int64], label: int) -> list[tuple[int, int]]:
        height, width = labels.shape
        pixels = []
        for y in range(height):
            for x in range(width):
                neighbours = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
                neighbour_labels = [labels[p] for p in neighbours if 0 <= p[0] < height and 0 <= p[1] < width]
                if labels[y, x] == label and any(neighbour not in (label, 255) for neighbour in neighbour_labels):
                    pixels.append((y, x))
        return pixels

    counts = np.zeros((classes, 4), np.int64)
    for label in range(classes):
        predicted, true = boundary(prediction, label), boundary(target, label)
        for side, (pixels, other_pixels) in enumerate(((predicted, true), (true, predicted))):
            matched = [
                p for p in pixels if any((p[0] - q[0]) ** 2 + (p[1] - q[1]) ** 2 <= tolerance**2 for q in other_pixels)
            ]
            counts[label, 2 * side : 2 * side + 2] = len(pixels), len(matched)
    return counts


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 4), st.integers(1, 12), st.integers(1, 12), st.sampled_from([2, 5, 40]))
def test_against_every_pair(seed: int, tolerance: int, height: int, width: int, classes: int) -> None:
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, classes, (2, 2, 4, 4)).repeat(3, 2).repeat(3, 3)[:, :, :height, :width]
    prediction, target = coarse.copy()
    target[generator.random(target.shape) < 0.1] = 255
    counts = boundary_counts(torch.tensor(prediction), torch.tensor(target), classes, tolerance)
    for image in range(2):
        np.testing.assert_array_equal(counts[image], slow(prediction[image], target[image], classes, tolerance))


def test_an_edge_that_is_off_by_two_pixels() -> None:
    target = torch.zeros(1, 8, 20, dtype=torch.int64)
    target[:, :, 10:] = 1
    prediction = torch.zeros_like(target)
    prediction[:, :, 12:] = 1
    for tolerance, matched in ((1, 0), (2, 8)):
        counts = boundary_counts(prediction, target, 2, tolerance)
        assert counts.tolist() == [[[8, matched, 8, matched]] * 2], "one column of 8 pixels on each side of the edge"
    exact_counts = boundary_counts(target, target, 2, 0)
    assert exact_counts.tolist() == [[[8, 8, 8, 8]] * 2]


@pytest.mark.parametrize("value", [0, 255])
def test_masks_without_edges(value: int) -> None:
    flat = torch.full((1, 5, 5), value)
    assert not boundary_counts(torch.zeros_like(flat), flat, 3, 3).any()
