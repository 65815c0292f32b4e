"""Gaussian blur with a separate standard deviation for each image."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from snellen.data.augment.draws import Draws, uniform

_CPU_BLOCK = 2**16  # pixels per channel processed at a time, so that they stay in the CPU cache


def blur(images: Tensor, probability: float, sigma: tuple[float, float], kernel: int, draws: Draws) -> Tensor:
    """Blurs some images in place, with a standard deviation uniform in `sigma` px.

    images: (B, 3, H, W) float. kernel: width of the filter in px, odd. Borders are reflected, or repeated if an image
    is too small for that. The same distribution as torchvision's GaussianBlur.
    """
    count, rows, columns = len(images), images.shape[2], images.shape[3]
    blurred = torch.nonzero(uniform(draws, count) < probability)[:, 0]
    deviation = sigma[0] + (sigma[1] - sigma[0]) * uniform(draws, count)
    half = kernel // 2
    line = torch.arange(-half, half + 1, dtype=torch.float32)
    weights = torch.exp(-0.5 * (line / deviation[blurred, None]) ** 2)
    weights = (weights / weights.sum(1, keepdim=True)).to(images.device)  # (b, K)
    on_cpu = images.device.type == "cpu"
    step = max(1, _CPU_BLOCK // (rows * columns)) if on_cpu else max(1, len(blurred))
    blurred = blurred.to(images.device)
    for start in range(0, len(blurred), step):
        part = blurred[start : start + step]
        images[part] = _filtered(images[part], weights[start : start + step])
    return images


def _filtered(images: Tensor, weights: Tensor) -> Tensor:
    """(b, 3, H, W) images filtered along both axes by (b, K) weights. A sum over shifts beats a grouped convolution."""
    kernel = weights.shape[1]
    half = kernel // 2
    rows, columns = images.shape[2:]
    padded = F.pad(images, (half, half, half, half), mode="reflect" if min(rows, columns) > half else "replicate")
    taps = weights[:, :, None, None, None].unbind(1)  # K of (b, 1, 1, 1)
    down = padded[:, :, :rows] * taps[0]
    for shift in range(1, kernel):
        down.addcmul_(padded[:, :, shift : shift + rows], taps[shift])
    across = down[..., :columns] * taps[0]
    for shift in range(1, kernel):
        across.addcmul_(down[..., shift : shift + columns], taps[shift])
    return across
