"""Crop geometry: the part of an image that becomes a view, drawn for each image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.data.augment.draws import Draws, uniform

_ATTEMPTS = 10  # as in torchvision: attempts at a box that fits; then the largest centred one


@dataclass(frozen=True)
class Views:
    """For each image: cut `box` out, resize it to `scaled`, lay a square window over the result at `corner`.

    box: (B, 4) int64, top, left, height, width, inside the image. scaled: (B, 2) int64, height and width, at least 1.
    corner: (B, 2) int64, top and left of the window, in pixels of the resized box; the window may reach beyond it
    (padding). window: (B, 2) int64, height and width, from that corner, that are stretched over the whole view.
    """

    box: Tensor
    scaled: Tensor
    corner: Tensor
    window: Tensor

    @property
    def unscaled(self) -> bool:
        """Whether no image has to be resized, so that pixels can simply be copied."""
        return bool((self.scaled == self.box[:, 2:]).all())

    def of(self, rows: slice) -> Views:
        """The views of some images."""
        return Views(self.box[rows], self.scaled[rows], self.corner[rows], self.window[rows])

    def from_box(self) -> Views:
        """The same views for images already cut to their boxes."""
        box = torch.cat([torch.zeros_like(self.box[:, :2]), self.box[:, 2:]], dim=1)
        return Views(box, self.scaled, self.corner, self.window)


def resized_crops(
    sizes: Tensor,
    size: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    draws: Draws,
    *,
    enlarge: bool = True,
) -> Views:
    """Boxes of random area and aspect, resized to size x size: the distribution of torchvision's RandomResizedCrop.

    sizes: (B, 2) int64, height and width. scale: share of the area. ratio: width over height, drawn log-uniformly.
    enlarge=False: sides of a box below `size` are kept (see `Views.window`), to be enlarged by a later resampling.
    """
    count = len(sizes)
    rows, columns = sizes[:, :1].double(), sizes[:, 1:].double()  # (B, 1)
    area = rows * columns * _between(scale, draws, count)
    aspect = _between((math.log(ratio[0]), math.log(ratio[1])), draws, count).exp()
    width, height = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (width > 0) & (width <= columns) & (height > 0) & (height <= rows)
    any_fits, first = fits.any(1), fits.int().argmax(1, keepdim=True)
    rows, columns = rows[:, 0], columns[:, 0]
    width = torch.where(any_fits, width.gather(1, first)[:, 0], (rows * ratio[1]).round().clamp(min=1).minimum(columns))
    height = torch.where(
        any_fits, height.gather(1, first)[:, 0], (columns / ratio[0]).round().clamp(min=1).minimum(rows)
    )
    top = torch.where(any_fits, _integers(rows - height, draws), ((rows - height) / 2).floor())
    left = torch.where(any_fits, _integers(columns - width, draws), ((columns - width) / 2).floor())
    box = torch.stack([top, left, height, width], dim=1).long()
    scaled = torch.full_like(box[:, 2:], size) if enlarge else box[:, 2:].clamp(max=size)
    return Views(box, scaled, torch.zeros_like(scaled), scaled)


def random_windows(sizes: Tensor, size: int, resize: int | None, padding: int, draws: Draws) -> Views:
    """Squares at random positions: the distribution of torchvision's Resize followed by RandomCrop with padding.

    sizes: (B, 2) int64, height and width. resize: the shorter side is resized to this first; None: not resized. Images
    that are still smaller than `size`, padding included, are enlarged to fit.
    """
    scaled = shorter_to(sizes, resize, size - 2 * padding)
    free = (scaled + 2 * padding - size).double()  # (B, 2)
    corner = torch.stack([_integers(free[:, 0], draws), _integers(free[:, 1], draws)], dim=1).long() - padding
    return _windows(sizes, scaled, corner, size)


def central_windows(sizes: Tensor, size: int, resize: int | None) -> Views:
    """The central square, as in torchvision's Resize followed by CenterCrop. Arguments as in random_windows."""
    scaled = shorter_to(sizes, resize, size)
    return _windows(sizes, scaled, ((scaled - size) / 2).round().long(), size)


def squashed(sizes: Tensor, size: int) -> Views:
    """The whole image, ignoring its aspect ratio: torchvision's Resize((size, size))."""
    scaled = torch.full_like(sizes, size)
    return _windows(sizes, scaled, torch.zeros_like(sizes), size)


def _windows(sizes: Tensor, scaled: Tensor, corner: Tensor, size: int) -> Views:
    box = torch.cat([torch.zeros_like(sizes), sizes], dim=1)
    return Views(box, scaled, corner, torch.full_like(scaled, size))


def shorter_to(sizes: Tensor, resize: int | None, minimum: int) -> Tensor:
    """(B, 2) sizes with the shorter side resized to `resize` (None: unchanged), but at least to `minimum`."""
    shorter = sizes.min(1, keepdim=True).values
    target = (shorter if resize is None else torch.full_like(shorter, resize)).clamp(min=minimum)
    return sizes * target // shorter  # rounded down, as in torchvision


def _between(bounds: tuple[float, float], draws: Draws, count: int) -> Tensor:
    """(count, attempts) numbers, uniform between the bounds."""
    return uniform(draws, count, _ATTEMPTS, dtype=torch.float64) * (bounds[1] - bounds[0]) + bounds[0]


def _integers(highest: Tensor, draws: Draws) -> Tensor:
    """Integers, uniform in 0 … highest, one for each entry of `highest`."""
    return (uniform(draws, len(highest), dtype=torch.float64) * (highest + 1)).floor()
