"""Views cut out of raw images: copied if nothing is resized, else resized with antialiasing.

Three implementations with one result (one value in 500 differs by a grey level, one in millions by two):
- nothing is resized: pixels are copied, exactly;
- on the CPU: torch's uint8 kernel, image by image, the fastest available;
- on other devices: one product with two matrices of filter weights for the whole batch, without a loop over images. It
  matches torch's antialiased `interpolate`, which some devices lack.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from snellen.data.augment.geometry import Views
from snellen.data.augment.spec import Interpolation
from snellen.data.batch import ImageList, RawBatch
from snellen.data.cache import pad

_GATHER_UP_TO = 64  # px: on the CPU, one gather is faster for smaller views, a loop of block copies for larger ones
_BLOCK_BYTES = 2**28
# px that an image is resized to for one view, or 8 times the view; above, only the needed lines are computed
MOST_RESIZED = 2**22
_MOST_PADDED = 2  # on devices other than the CPU: padded bytes of a batch per byte of its images


@dataclass(frozen=True)
class Mirrored:
    """Which images are flipped: sideways and upside_down are (B,) bool on the CPU."""

    sideways: Tensor
    upside_down: Tensor

    def of(self, rows: slice) -> Mirrored:
        """The flips of some images."""
        return Mirrored(self.sideways[rows], self.upside_down[rows])


def frame(
    raw: RawBatch | ImageList,
    views: Views,
    size: int,
    mirrored: Mirrored | None,
    reflect: bool,
    interpolation: Interpolation,
) -> Tensor:
    """The views of a batch, (B, 3, size, size), on the device of the images.

    raw.sizes and views are on the CPU. reflect: fill a window beyond the image with its reflection, else with black.
    Returns whole grey levels: uint8, or float32 if resized on another device than the CPU.
    """
    if isinstance(raw, ImageList):
        if raw.images[0].device.type == "cpu":
            return _one_by_one(raw.images, views, size, mirrored, reflect, interpolation)
        return framed_list(raw, views, size, mirrored, reflect, interpolation)
    on_cpu = raw.pixels.device.type == "cpu"
    if views.unscaled and (not on_cpu or size <= _GATHER_UP_TO):
        return _copied(raw, views, size, mirrored, reflect)
    if on_cpu:
        return _one_by_one(list(raw.pixels), views, size, mirrored, reflect, interpolation)
    return resized_by_matrices(raw, views, size, mirrored, reflect, interpolation)


def framed_list(
    raw: ImageList, views: Views, size: int, mirrored: Mirrored | None, reflect: bool, interpolation: Interpolation
) -> Tensor:
    """Images of different sizes: one batch if that needs little padding, else one by one, for example a panorama."""
    area = raw.sizes.prod(1)
    if len(area) * int(raw.sizes.max(0).values.prod()) <= _MOST_PADDED * int(area.sum()):
        return _in_batch(pad(raw.images), views, size, mirrored, reflect, interpolation)
    out = []
    for row, image in enumerate(raw.images):
        one = slice(row, row + 1)
        flips = None if mirrored is None else mirrored.of(one)
        out.append(_in_batch(pad([image]), views.of(one), size, flips, reflect, interpolation).float())
    return torch.cat(out)


def _in_batch(
    raw: RawBatch, views: Views, size: int, mirrored: Mirrored | None, reflect: bool, interpolation: Interpolation
) -> Tensor:
    if views.unscaled:
        return _copied(raw, views, size, mirrored, reflect)
    return resized_by_matrices(raw, views, size, mirrored, reflect, interpolation)


def _copied(raw: RawBatch, views: Views, size: int, mirrored: Mirrored | None, reflect: bool) -> Tensor:
    device, columns = raw.pixels.device, raw.pixels.shape[3]
    lines, inside = _window_lines(views, size, mirrored, reflect)
    y, x = (lines + views.box[:, :2, None]).unbind(1)  # (B, size), in pixels of the image
    index = (y[:, :, None] * columns + x[:, None, :]).flatten(1).to(device)  # (B, size * size)
    out = raw.pixels.flatten(2).gather(2, index[:, None].expand(-1, 3, -1)).view(-1, 3, size, size)
    if not inside.all():
        out *= (inside[:, 0, :, None] & inside[:, 1, None, :]).to(device)[:, None]
    return out


def _one_by_one(
    images: list[Tensor],
    views: Views,
    size: int,
    mirrored: Mirrored | None,
    reflect: bool,
    interpolation: Interpolation,
) -> Tensor:
    out = torch.zeros(len(images), 3, size, size, dtype=torch.uint8)
    flips = [[] for _ in out] if mirrored is None else _flipped_axes(mirrored)
    plan = zip(views.box.tolist(), views.scaled.tolist(), views.corner.tolist(), flips, strict=True)
    for row, (canvas, image, (box, scaled, corner, axes)) in enumerate(zip(out, images, plan, strict=True)):
        top, left, height, width = box
        tile = image[:, top : top + height, left : left + width]
        if scaled != [height, width] and scaled[0] * scaled[1] > max(MOST_RESIZED, 8 * size**2):
            one = slice(row, row + 1)  # enlarging a strip of 6,000 x 1 px to 224 px would take 900 MB
            from_box = views.of(one).from_box()
            flip = None if mirrored is None else mirrored.of(one)
            canvas.copy_(resized_by_matrices(pad([tile]), from_box, size, flip, reflect, interpolation)[0])
            continue
        if scaled != [height, width]:
            tile = F.interpolate(tile[None], size=scaled, mode=interpolation, antialias=True)[0]
        tile = _window(tile, corner, size, reflect)
        canvas[:, : tile.shape[1], : tile.shape[2]] = tile
        if axes:
            canvas.copy_(canvas.flip(axes))
    return out


def _window(tile: Tensor, corner: list[int], size: int, reflect: bool) -> Tensor:
    """The part of a (3, h, w) tile in a window at `corner`, up to (3, size, size); less if the tile ends first."""
    for axis, start in enumerate(corner, start=1):
        length = tile.shape[axis]
        if start >= 0 and (start + size <= length or not reflect):
            tile = tile.narrow(axis, start, min(size, length - start))
            continue
        line = torch.arange(start, start + size)
        window = tile.index_select(axis, _reflected(line, torch.tensor(length)))
        if not reflect:
            beyond = torch.nonzero((line < 0) | (line >= length))[:, 0]
            window.index_fill_(axis, beyond, 0)
        tile = window
    return tile


def resized_by_matrices(
    raw: RawBatch, views: Views, size: int, mirrored: Mirrored | None, reflect: bool, interpolation: Interpolation
) -> Tensor:
    """(B, 3, size, size) float32, whole numbers in 0 … 255: down @ image @ acrossᵀ, with weights for each image."""
    lines, inside = _window_lines(views, size, mirrored, reflect)
    device = raw.pixels.device
    out = torch.empty(len(raw.pixels), 3, size, size, device=device)
    height, width = raw.pixels.shape[2:]
    step = max(1, _BLOCK_BYTES // (4 * max(3 * height * width, size * max(height, width))))
    for start in range(0, len(out), step):
        rows = slice(start, start + step)
        down, across = (
            filter_weights(
                lines[rows, axis].to(device),
                inside[rows, axis].to(device),
                views.box[rows, axis].to(device),
                views.box[rows, axis + 2].to(device),
                views.scaled[rows, axis].to(device),
                raw.pixels.shape[axis + 2],
                interpolation,
            )
            for axis in (0, 1)
        )
        # Whole grey levels after each pass, as the uint8 kernel has them: a cubic's overshoot is cut off twice.
        narrow = (raw.pixels[rows].float() @ across.transpose(1, 2)[:, None]).round_().clamp_(0, 255)
        out[rows] = (down[:, None] @ narrow).round_().clamp_(0, 255)
    return out


def filter_weights(
    lines: Tensor, inside: Tensor, start: Tensor, length: Tensor, scaled: Tensor, total: int, interpolation: str
) -> Tensor:
    """(B, size, total): the share of each source line in each output line; rows sum to 1, or to 0 where not `inside`.

    lines: (B, size) lines of the resized box. start, length: (B,) the box along this axis. scaled: (B,) its new length.
    The filters of Pillow and torch: a triangle, or Keys' cubic with a = -0.5, widened by the reduction.
    """
    step = (length / scaled)[:, None, None]  # source pixels per output pixel
    centre = (lines[:, :, None] + 0.5) * step
    source = torch.arange(total, device=lines.device) - start[:, None, None]  # (B, 1, total), 0 is the first in the box
    distance = ((source + 0.5 - centre) / step.clamp(min=1)).abs()
    if interpolation == "bilinear":
        weights = (1 - distance).clamp(min=0)
    else:
        near = (1.5 * distance - 2.5) * distance**2 + 1
        far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
        weights = torch.where(distance < 1, near, far * (distance < 2))
    weights = weights * ((source >= 0) & (source < length[:, None, None]))
    return weights / weights.sum(2, keepdim=True) * inside[:, :, None]


def _window_lines(views: Views, size: int, mirrored: Mirrored | None, reflect: bool) -> tuple[Tensor, Tensor]:
    """For each output row (0) and column (1), its line in the resized box, and whether it lies inside the box.

    Returns (B, 2, size) int64, always within the box, and (B, 2, size) bool.
    """
    line = torch.arange(size).expand(len(views.box), 2, size)
    if mirrored is not None:
        flips = torch.stack([mirrored.upside_down, mirrored.sideways], dim=1)  # (B, 2)
        line = torch.where(flips[:, :, None], size - 1 - line, line)
    line = line + views.corner[:, :, None]
    length = views.scaled[:, :, None]
    inside = torch.ones_like(line, dtype=torch.bool) if reflect else (line >= 0) & (line < length)
    return _reflected(line, length), inside


def _reflected(line: Tensor, length: Tensor) -> Tensor:
    """Lines reflected into 0 … length - 1 without repeating the border: 2 1 0 1 2 1 0 for a length of 3."""
    period = (2 * (length - 1)).clamp(min=1)
    line = line.remainder(period)
    return torch.minimum(line, period - line).minimum(length - 1)


def _flipped_axes(mirrored: Mirrored) -> list[list[int]]:
    pairs = zip(mirrored.upside_down.tolist(), mirrored.sideways.tolist(), strict=True)
    return [[1] * down + [2] * across for down, across in pairs]
