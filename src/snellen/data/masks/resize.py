"""Sizes that images and masks are resized to before anything else."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

Resize = int | tuple[int, int] | None
"""The shorter side, both sides (height, width), or None: not resized."""


def resized_size(size: tuple[int, int], resize: Resize) -> tuple[int, int]:
    """Height and width after resizing a (height, width), at least 1."""
    if resize is None:
        return size
    if isinstance(resize, tuple):
        return resize
    factor = resize / min(size)
    return max(resize, round(size[0] * factor)), max(resize, round(size[1] * factor))


@dataclass(frozen=True)
class TrainingSizes:
    """Sizes of the training images in pixels, before any resize: (height, width), and the shorter side."""

    median: tuple[int, int]
    largest: tuple[int, int]
    median_shorter: int
    largest_shorter: int

    @classmethod
    def of(cls, sizes: Sequence[tuple[int, int]]) -> TrainingSizes:
        """From the heights and widths of the images, at least one."""
        shorter = [min(size) for size in sizes]
        rows, columns = zip(*sizes, strict=True)
        medians = (statistics.median_low(side) for side in (rows, columns, shorter))
        height, width, side = medians
        return cls((height, width), (max(rows), max(columns)), side, max(shorter))


def evaluation_size(size: tuple[int, int], resize: Resize, training: TrainingSizes | None) -> tuple[int, int]:
    """Height and width at which an image is scored or predicted.

    Images up to the size of the largest training image are resized to `resize`. A larger one, a scene, is resized to
    the scale of training: the factor by which `resize` changes a training image of median size. training: None if
    unknown; then every image is resized to `resize`.
    """
    if resize is None or training is None:
        return resized_size(size, resize)
    if isinstance(resize, tuple):
        if size[0] <= training.largest[0] and size[1] <= training.largest[1]:
            return resize
        factors = resize[0] / training.median[0], resize[1] / training.median[1]
    else:
        if min(size) <= training.largest_shorter:
            return resized_size(size, resize)
        factors = (resize / training.median_shorter,) * 2
    return max(1, round(size[0] * factors[0])), max(1, round(size[1] * factors[1]))


def resize_image(image: Tensor, size: tuple[int, int]) -> Tensor:
    """(3, h, w) uint8 at another size, bilinear with antialiasing."""
    if tuple(image.shape[1:]) == size:
        return image
    return F.interpolate(image[None], size=size, mode="bilinear", antialias=True)[0]


def resize_mask(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """(h, w) uint8 at another size: each pixel takes the class at its centre."""
    if tuple(mask.shape) == size:
        return mask
    lines = [
        ((torch.arange(target) + 0.5) * (source / target)).long().clamp(max=source - 1)
        for target, source in zip(size, mask.shape, strict=True)
    ]
    return mask[lines[0]][:, lines[1]]
