"""Where each output pixel of a training image comes from: crop, resize, rotation and flip as one resampling."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from snellen.data.batch import RawBatch

_ATTEMPTS = 10  # as torchvision: so many tries for a box that fits, then the largest centred one
_BLUR_FROM = 1.5  # beyond this reduction, one bilinear sample per output pixel would alias


@dataclass(frozen=True)
class Boxes:
    """For each image, the rectangle of its own pixels that becomes the output.

    top, left, height, width: (B,) float64 in source pixels. A rectangle may reach beyond the image (padding).
    """

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor


def resized_crop_boxes(
    sizes: Tensor, scale: tuple[float, float], ratio: tuple[float, float], generator: Generator
) -> Boxes:
    """Boxes of random area and aspect: the distribution of torchvision's RandomResizedCrop.

    sizes: (B, 2) int64, height and width. scale: share of the area. ratio: width over height, drawn log-uniformly.
    """
    count = len(sizes)
    rows, columns = sizes[:, :1].double(), sizes[:, 1:].double()  # (B, 1)
    area = rows * columns * _uniform((count, _ATTEMPTS), scale, generator)
    aspect = _uniform((count, _ATTEMPTS), (math.log(ratio[0]), math.log(ratio[1])), generator).exp()
    width, height = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (width > 0) & (width <= columns) & (height > 0) & (height <= rows)
    first = fits.int().argmax(1, keepdim=True)
    width, height = width.gather(1, first)[:, 0], height.gather(1, first)[:, 0]
    rows, columns, found = rows[:, 0], columns[:, 0], fits.any(1)
    width = torch.where(found, width, torch.minimum(columns, (rows * ratio[1]).round()))
    height = torch.where(found, height, torch.minimum(rows, (columns / ratio[0]).round()))
    top = torch.where(found, _integers(rows - height, generator), ((rows - height) / 2).floor())
    left = torch.where(found, _integers(columns - width, generator), ((columns - width) / 2).floor())
    return Boxes(top, left, height, width)


def crop_boxes(sizes: Tensor, size: int, resize: int | None, padding: int, centre: bool, generator: Generator) -> Boxes:
    """Boxes of `size` x `size` px after the shorter side was resized to `resize` and `padding` px were added around.

    An image that is still too small is enlarged so that its shorter side and the padding reach `size`. centre: the
    middle, in place of a random position. The distribution of torchvision's Resize and RandomCrop.
    """
    shorter = sizes.min(1).values
    target = shorter if resize is None else torch.full_like(shorter, resize)
    target = target.clamp(min=size - 2 * padding, max=None)
    factor = (target / shorter).double()  # resized px per source px
    rows = torch.round(sizes[:, 0] * factor) + 2 * padding
    columns = torch.round(sizes[:, 1] * factor) + 2 * padding
    if centre:
        top, left = torch.round((rows - size) / 2), torch.round((columns - size) / 2)
    else:
        top, left = _integers(rows - size, generator), _integers(columns - size, generator)
    side = size / factor
    return Boxes((top - padding) / factor, (left - padding) / factor, side, side)


def shift_and_mirror(raw: RawBatch, boxes: Boxes, size: int, mirrored: tuple[Tensor, Tensor], reflect: bool) -> Tensor:
    """Crops that need no resampling, by copying pixels. Boxes are whole numbers of size x size.

    mirrored: (B,) bool, left-right and upside-down. reflect: what lies beyond the image is its mirror image, else black.
    Returns (B, 3, size, size) uint8.
    """
    device = raw.pixels.device
    y, valid_y = _source_lines(boxes.top, raw.sizes[:, 0], size, mirrored[1], reflect)
    x, valid_x = _source_lines(boxes.left, raw.sizes[:, 1], size, mirrored[0], reflect)
    columns = raw.pixels.shape[3]
    index = (y[:, :, None] * columns + x[:, None, :]).flatten(1).to(device)  # (B, S * S)
    flat = raw.pixels.flatten(2)  # (B, 3, H * W)
    out = flat.gather(2, index[:, None].expand(-1, 3, -1)).unflatten(2, (size, size))
    if not reflect and not (valid_y.all() and valid_x.all()):
        inside = (valid_y[:, :, None] & valid_x[:, None, :]).to(device)
        out = out * inside[:, None]
    return out


def resample(
    raw: RawBatch, boxes: Boxes, size: int, mirrored: tuple[Tensor, Tensor], degrees: Tensor, reflect: bool
) -> Tensor:
    """Boxes brought to size x size, then rotated about their centre by `degrees` (B,), then mirrored: one resampling.

    What rotation brings in from outside the box is black, as in torchvision. Bilinear; where a box is reduced by more
    than 1.5, several samples are averaged for each output pixel. Returns (B, 3, size, size) float32 in [0, 255].
    """
    reduction = float(torch.maximum(boxes.height, boxes.width).max()) / size
    samples = 1 if reduction <= _BLUR_FROM else math.ceil(reduction)
    fine = size * samples
    line = (torch.arange(fine, dtype=torch.float64) + 0.5) / fine - 0.5  # centre of the box is 0
    u = torch.where(mirrored[0][:, None], -line, line)[:, None, :]  # (B, 1, F)
    v = torch.where(mirrored[1][:, None], -line, line)[:, :, None]  # (B, F, 1)
    turn = torch.deg2rad(degrees.double())[:, None, None]
    across = torch.cos(turn) * u - torch.sin(turn) * v  # (B, F, F)
    down = torch.sin(turn) * u + torch.cos(turn) * v
    x = (boxes.left[:, None, None] + (across + 0.5) * boxes.width[:, None, None] - 0.5).float().to(raw.pixels.device)
    y = (boxes.top[:, None, None] + (down + 0.5) * boxes.height[:, None, None] - 0.5).float().to(raw.pixels.device)
    inside = None
    if degrees.any():
        inside = ((across.abs() <= 0.5) & (down.abs() <= 0.5)).to(raw.pixels.device)
    x, x_inside = _within(x, raw.sizes[:, 1].to(x.device), reflect)
    y, y_inside = _within(y, raw.sizes[:, 0].to(y.device), reflect)
    rows, columns = raw.pixels.shape[2:]
    grid = torch.stack([(2 * x + 1) / columns - 1, (2 * y + 1) / rows - 1], dim=3)
    out = F.grid_sample(raw.pixels.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
    seen = x_inside & y_inside if inside is None else x_inside & y_inside & inside
    out = out * seen[:, None]
    return F.avg_pool2d(out, samples) if samples > 1 else out


def _source_lines(start: Tensor, length: Tensor, size: int, mirrored: Tensor, reflect: bool) -> tuple[Tensor, Tensor]:
    """(B, size) int64 indices of source rows or columns, and which of them lie in the image."""
    line = torch.arange(size)
    line = torch.where(mirrored[:, None], size - 1 - line, line)  # (B, size)
    index = start.long()[:, None] + line
    last = (length.cpu() - 1)[:, None]
    valid = (index >= 0) & (index <= last)
    if reflect:
        index = last - (last - index.abs()).abs()
    return index.clamp(torch.zeros_like(last), last), valid


def _within(position: Tensor, length: Tensor, reflect: bool) -> tuple[Tensor, Tensor]:
    """Positions brought into [0, length - 1], and which of them were in the image, half a pixel of border included."""
    last = (length - 1).float()[:, None, None]
    inside = (position >= -0.5) & (position <= last + 0.5)
    if reflect:
        position = last - (last - position.abs()).abs()
        inside = torch.ones_like(inside)
    return torch.minimum(position.clamp(min=0), last), inside


def _uniform(shape: tuple[int, ...], bounds: tuple[float, float], generator: Generator) -> Tensor:
    return torch.rand(shape, generator=generator, dtype=torch.float64) * (bounds[1] - bounds[0]) + bounds[0]


def _integers(highest: Tensor, generator: Generator) -> Tensor:
    """Whole numbers, uniform in 0 … highest, one for each entry of `highest`."""
    return (torch.rand(len(highest), generator=generator, dtype=torch.float64) * (highest + 1)).floor()
