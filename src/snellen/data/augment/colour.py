"""Colour jitter and greyscale, with separate parameters for each image."""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.data.augment.draws import Draws, uniform

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as torchvision
_CPU_BLOCK = 2**17  # pixels processed at a time, so that intermediate values stay in the CPU cache
_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE = range(4)


def luma(images: Tensor) -> Tensor:
    """(B, 1, H, W) grey values of (B, 3, H, W) images."""
    red, green, blue = images[:, :1], images[:, 1:2], images[:, 2:]
    return red.mul(_LUMA[0]).add_(green, alpha=_LUMA[1]).add_(blue, alpha=_LUMA[2])


def jitter(images: Tensor, strength: tuple[float, float, float, float], probability: float, draws: Draws) -> Tensor:
    """Changes brightness, contrast, saturation and hue in place, in an order drawn for each image.

    images: (B, 3, H, W) float in [0, 1]; the range is kept. strength: factors of the first three are uniform in
    [max(0, 1 - s), 1 + s], the shift of hue is uniform in [-s, s] turns, s <= 0.5. probability: that an image is
    jittered at all. The same distribution as torchvision's ColorJitter.
    """
    count = len(images)
    chosen = uniform(draws, count) < probability
    order = uniform(draws, count, 4).argsort(1)
    spread = torch.tensor(strength)
    low = torch.cat([(1 - spread[:3]).clamp(min=0), -spread[3:]])
    high = torch.cat([1 + spread[:3], spread[3:]])
    amounts = (low + (high - low) * uniform(draws, count, 4)).to(images.device)
    for part in _blocks(torch.nonzero(chosen)[:, 0], images):
        _jitter_block(images, part, order[part], amounts, [kind for kind in range(4) if strength[kind] > 0])
    return images


def _jitter_block(images: Tensor, part: Tensor, order: Tensor, amounts: Tensor, kinds: list[int]) -> None:
    """Jitters images[part], (b,) int64, each in its order (b, 4); images with the same next change form a batch."""
    for step in range(4):
        for kind in kinds:
            rows = part[order[:, step] == kind]
            if len(rows) == 1:
                row = int(rows[0])
                _adjust(images[row : row + 1], kind, amounts[row : row + 1, kind, None, None, None])
            elif len(rows) > 1:
                rows = rows.to(images.device)
                group = images[rows]
                _adjust(group, kind, amounts[rows, kind, None, None, None])
                images[rows] = group


def _adjust(images: Tensor, kind: int, amount: Tensor) -> None:
    if kind == _HUE:
        shift_hue(images, amount)
        return
    if kind == _CONTRAST:
        means = images.mean((2, 3), keepdim=True)  # (b, 3, 1, 1)
        images.mul_(amount).add_(luma(means) * (1 - amount))
    elif kind == _SATURATION:
        grey_part = luma(images).mul_(1 - amount)
        images.mul_(amount).add_(grey_part)
    else:
        images.mul_(amount)
    images.clamp_(0, 1)


def shift_hue(images: Tensor, turns: Tensor) -> None:
    """Rotates the hue, in HSV, by `turns` (B, 1, 1, 1) full circles. images: (B, 3, H, W) float, modified in place."""
    red, green, blue = images[:, :1], images[:, 1:2], images[:, 2:]
    least, value = torch.minimum(red, green).minimum(blue), torch.maximum(red, green).maximum(blue)
    chroma = value - least
    safe = chroma.clamp(min=1e-12)
    # Hue in sixths of the circle: 0 red, 2 green, 4 blue.
    sector = torch.where(green == value, (blue - red).div_(safe).add_(2), (red - green).div_(safe).add_(4))
    sector = torch.where(red == value, (green - blue).div_(safe), sector).add_(6 * turns)
    sector = sector.sub_((sector / 6).floor_().mul_(6))
    red.copy_(((sector - 3).abs_().sub_(1).clamp_(0, 1)).mul_(chroma).add_(least))
    green.copy_((2 - (sector - 2).abs_()).clamp_(0, 1).mul_(chroma).add_(least))
    blue.copy_((2 - (sector - 4).abs_()).clamp_(0, 1).mul_(chroma).add_(least))


def grey(images: Tensor, probability: float, draws: Draws) -> Tensor:
    """Turns some images to grey, in place, as torchvision's RandomGrayscale."""
    chosen = torch.nonzero(uniform(draws, len(images)) < probability)[:, 0]
    for part in _blocks(chosen, images):
        rows = part.to(images.device)
        images[rows] = luma(images[rows]).expand(-1, 3, -1, -1)
    return images


def _blocks(rows: Tensor, images: Tensor) -> list[Tensor]:
    """(b,) int64 image numbers in pieces that are worked on at once; elsewhere than on the CPU, all of them."""
    pixels = images.shape[2] * images.shape[3]
    step = max(1, _CPU_BLOCK // pixels) if images.device.type == "cpu" else max(1, len(rows))
    return [rows[start : start + step] for start in range(0, len(rows), step)]
