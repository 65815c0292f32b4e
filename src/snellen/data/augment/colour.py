"""Colour jitter, grey, blur and erasing, with parameters of its own for each image."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as torchvision


def luma(images: Tensor) -> Tensor:
    """(B, 1, H, W) grey values of (B, 3, H, W) images."""
    weights = torch.tensor(_LUMA, device=images.device, dtype=images.dtype)
    return (images * weights[:, None, None]).sum(1, keepdim=True)


def jitter(
    images: Tensor, strength: tuple[float, float, float, float], probability: float, generator: Generator
) -> Tensor:
    """Brightness, contrast, saturation and hue, in an order drawn for each image: torchvision's ColorJitter.

    images: (B, 3, H, W) float in [0, 1]. strength: factors of the first three are uniform in [max(0, 1 - s), 1 + s], the
    shift of hue is uniform in [-s, s] turns, s <= 0.5. probability: that an image is jittered at all.
    """
    count = len(images)
    chosen = torch.rand(count, generator=generator) < probability
    order = torch.rand(count, 4, generator=generator).argsort(1)
    draws = torch.rand(count, 4, generator=generator)
    out = images.clone()
    for place in range(4):
        for kind in range(4):
            if strength[kind] == 0:
                continue
            rows = torch.nonzero(chosen & (order[:, place] == kind))[:, 0]
            if len(rows) == 0:
                continue
            low, high = (-strength[3], strength[3]) if kind == 3 else (max(0.0, 1 - strength[kind]), 1 + strength[kind])
            amount = (low + (high - low) * draws[rows, kind]).to(images.device)[:, None, None, None]
            rows = rows.to(images.device)
            out[rows] = _adjust(out[rows], kind, amount)
    return out


def _adjust(images: Tensor, kind: int, amount: Tensor) -> Tensor:
    if kind == 0:
        return (images * amount).clamp(0, 1)
    if kind == 1:
        mean = luma(images).mean((1, 2, 3), keepdim=True)
        return (mean + (images - mean) * amount).clamp(0, 1)
    if kind == 2:
        grey = luma(images)
        return (grey + (images - grey) * amount).clamp(0, 1)
    return shift_hue(images, amount)


def shift_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Images with their hue, in HSV, turned by `turns` (B, 1, 1, 1) of a whole circle. images: (B, 3, H, W) in [0, 1]."""
    value, brightest = images.max(1)
    chroma = value - images.amin(1)
    safe = chroma.clamp(min=1e-12)
    red, green, blue = images.unbind(1)
    sector = torch.where(
        brightest == 0, (green - blue) / safe, torch.where(brightest == 1, 2 + (blue - red) / safe, 4 + (red - green) / safe)
    )
    sector = (sector + 6 * turns[:, 0]) % 6  # (B, H, W)
    # Each channel of an HSV colour is value - chroma * clamp(min(k, 4 - k), 0, 1), k = (n + sector) mod 6, n = 5, 3, 1.
    k = (torch.tensor([5.0, 3.0, 1.0], device=images.device)[:, None, None] + sector[:, None]) % 6
    return value[:, None] - chroma[:, None] * torch.minimum(k, 4 - k).clamp(0, 1)


def grey(images: Tensor, probability: float, generator: Generator) -> Tensor:
    """Some images without their colour: torchvision's RandomGrayscale."""
    chosen = (torch.rand(len(images), generator=generator) < probability).to(images.device)
    return torch.where(chosen[:, None, None, None], luma(images), images)


def blur(
    images: Tensor, probability: float, sigma: tuple[float, float], kernel: int, generator: Generator
) -> Tensor:
    """Some images blurred by a Gaussian of random deviation in px: torchvision's GaussianBlur. kernel: odd, its width."""
    chosen = torch.nonzero(torch.rand(len(images), generator=generator) < probability)[:, 0]
    deviation = sigma[0] + (sigma[1] - sigma[0]) * torch.rand(len(images), generator=generator)
    if len(chosen) == 0:
        return images
    half = kernel // 2
    line = torch.arange(-half, half + 1, dtype=torch.float32)
    weights = torch.exp(-0.5 * (line / deviation[chosen, None]) ** 2)
    weights = (weights / weights.sum(1, keepdim=True)).to(images.device)  # (b, K)
    chosen = chosen.to(images.device)
    count, channels, rows, columns = images[chosen].shape
    mode = "reflect" if min(rows, columns) > half else "replicate"
    x = F.pad(images[chosen], (half, half, half, half), mode=mode)
    groups = count * channels
    each = weights.repeat_interleave(channels, 0)
    x = F.conv2d(x.reshape(1, groups, *x.shape[2:]), each[:, None, :, None], groups=groups)
    x = F.conv2d(x, each[:, None, None, :], groups=groups)
    out = images.clone()
    out[chosen] = x.reshape(count, channels, rows, columns)
    return out


def erase(
    images: Tensor, probability: float, scale: tuple[float, float], ratio: tuple[float, float], generator: Generator
) -> Tensor:
    """A rectangle of some images set to zero, the mean after normalisation: torchvision's RandomErasing.

    images: (B, 3, H, W) normalised. scale: share of the area. ratio: height over width, drawn log-uniformly.
    """
    count, _, rows, columns = images.shape
    draws = torch.rand(count, 5, generator=generator)
    area = rows * columns * (scale[0] + (scale[1] - scale[0]) * draws[:, 1])
    bounds = math.log(ratio[0]), math.log(ratio[1])
    aspect = torch.exp(bounds[0] + (bounds[1] - bounds[0]) * draws[:, 2])
    height = (area * aspect).sqrt().round().clamp(1, max(1, rows - 1))
    width = (area / aspect).sqrt().round().clamp(1, max(1, columns - 1))
    top = (draws[:, 3] * (rows - height + 1)).floor()
    left = (draws[:, 4] * (columns - width + 1)).floor()
    y, x = torch.arange(rows), torch.arange(columns)
    hit_y = (y >= top[:, None]) & (y < (top + height)[:, None])
    hit_x = (x >= left[:, None]) & (x < (left + width)[:, None])
    hit = hit_y[:, :, None] & hit_x[:, None, :] & (draws[:, 0] < probability)[:, None, None]
    return images.masked_fill(hit[:, None].to(images.device), 0.0)
