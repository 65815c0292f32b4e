"""Sizes that images and masks are brought to before anything else."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import BeforeValidator
from torch import Tensor
from torch.nn import functional as F

_SIDES = range(2, 16385)


def _check_sides(value: object) -> object:
    if isinstance(value, list | tuple):
        if len(value) == 2 and all(type(side) is int and side in _SIDES for side in value):
            return tuple(value)
    elif value is None or (type(value) is int and value in _SIDES):
        return value
    raise ValueError(f"wanted one number of pixels, two (height and width) or null; each {_SIDES[0]} to {_SIDES[-1]}")


Sides = Annotated[int | tuple[int, int] | None, BeforeValidator(_check_sides)]
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
