"""Sizes that images and masks are brought to before anything else."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

Resize = int | tuple[int, int] | None
"""The shorter side, both sides (height, width), or None: as it is."""


def resized_size(size: tuple[int, int], resize: Resize) -> tuple[int, int]:
    """Height and width that a (height, width) is brought to, at least 1."""
    if resize is None:
        return size
    if isinstance(resize, tuple):
        return resize
    factor = resize / min(size)
    return max(resize, round(size[0] * factor)), max(resize, round(size[1] * factor))


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
        ((torch.arange(wanted) + 0.5) * (given / wanted)).long().clamp(max=given - 1)
        for wanted, given in zip(size, mask.shape, strict=True)
    ]
    return mask[lines[0]][:, lines[1]]
