"""Rotation, flips and enlargement of views in one bilinear resampling."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from snellen.data.augment.framing import Mirrored

_CPU_BLOCK = 2**18  # output pixels processed at a time, so that intermediate values stay in the CPU cache


def rotate(tiles: Tensor, window: Tensor, degrees: Tensor, mirrored: Mirrored) -> Tensor:
    """Views rotated about their centre by `degrees` (B,), counter-clockwise, then flipped.

    tiles: (B, 3, S, S), any dtype. window: (B, 2) int64 on the CPU, the height and width, from the top left, that are
    stretched over the whole view before the rotation. Exposed corners are black, as in torchvision's rotate. Returns
    (B, 3, S, S) float32.
    """
    size, device = tiles.shape[3], tiles.device
    turn = torch.deg2rad(degrees.double())
    sideways, upside_down = (1 - 2 * flips.double() for flips in (mirrored.sideways, mirrored.upside_down))
    # Where an output pixel (u, v), both in -1 … 1, comes from: x = (u, v) @ across, y = (u, v) @ down.
    across = torch.stack([turn.cos() * sideways, -turn.sin() * upside_down], dim=1).float().to(device)
    down = torch.stack([turn.sin() * sideways, turn.cos() * upside_down], dim=1).float().to(device)
    is_full = bool((window == size).all())
    extent = window.flip(1).float().to(device)  # (B, 2), width and height
    step = max(1, _CPU_BLOCK // size**2) if device.type == "cpu" else len(tiles)
    out = torch.empty(tiles.shape, device=device)
    for start in range(0, len(tiles), step):
        part = slice(start, start + step)
        grid = _grid(across[part], down[part], size)
        if not is_full:
            covered = _covered(grid)
            grid = _stretched(grid, extent[part, None, None])
        turned = F.grid_sample(tiles[part].float(), grid, align_corners=False)
        out[part] = turned if is_full else turned.mul_(covered)
    return out


def _grid(across: Tensor, down: Tensor, size: int) -> Tensor:
    """(b, S, S, 2): x and y in the source for each output pixel, the view spanning -1 … 1."""
    line = (torch.arange(size, device=across.device) + 0.5) * (2 / size) - 1
    grid = torch.empty(len(across), size, size, 2, device=across.device)
    for axis, direction in enumerate((across, down)):
        of_u, of_v = (direction[:, :, None] * line).unbind(1)  # (b, S)
        torch.add(of_u[:, None, :], of_v[:, :, None], out=grid[..., axis])
    return grid


def _covered(grid: Tensor) -> Tensor:
    """(b, 1, S, S): 1 inside the view, 0 outside, in between within half a pixel of its rotated border."""
    x, y = grid.abs().neg_().add_(1).mul_(grid.shape[1] / 2).add_(0.5).clamp_(0, 1).unbind(3)
    return (x * y)[:, None]


def _stretched(grid: Tensor, extent: Tensor) -> Tensor:
    """The grid over the `extent` (b, 1, 1, 2) of the tile instead of the whole tile, clamped to the extent's pixels."""
    size = grid.shape[1]
    pixel = (grid + 1).mul_(extent / 2).sub_(0.5).clamp_(min=0).minimum(extent - 1)
    return pixel.mul_(2 / size).add_(1 / size - 1)
