"""Mixup and CutMix: pairs of images and their labels blended."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from snellen.data.augment.spec import MixSpec


def soft_targets(target: Tensor, classes: int, smoothing: float = 0.0) -> Tensor:
    """(B,) int64 classes as (B, C) float32 distributions, with `smoothing` spread evenly over all classes.

    Leave smoothing at 0 in training: there the loss applies it (loss.smoothing).
    """
    return F.one_hot(target, classes).float().mul_(1 - smoothing).add_(smoothing / classes)


def mix(images: Tensor, soft: Tensor, spec: MixSpec, generator: Generator) -> tuple[Tensor, Tensor]:
    """The batch blended with a permutation of itself, with one share for the whole batch.

    images: (B, 3, H, W) float. soft: (B, C), rows sum to 1. With neither mixup nor CutMix, both are returned unchanged.
    Sources: mixup, Zhang et al. 2017, arXiv 1710.09412, eq. 1; CutMix, Yun et al. 2019, arXiv 1905.04899, eq. 1-2.
    """
    chance, which, seed = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
    partner = torch.randperm(len(images), generator=generator).to(images.device)
    if chance >= spec.probability or not (spec.mixup or spec.cutmix):
        return images, soft
    numbers = np.random.default_rng(int(seed * 2**53))  # torch draws Beta from its global generator only
    if spec.cutmix == 0 or (spec.mixup > 0 and which < 0.5):
        share = float(numbers.beta(spec.mixup, spec.mixup))
        return torch.lerp(images[partner], images, share), torch.lerp(soft[partner], soft, share)
    top, bottom, left, right = _box(images.shape[2], images.shape[3], spec.cutmix, numbers)
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = images[partner, :, top:bottom, left:right]
    share = 1 - (bottom - top) * (right - left) / (images.shape[2] * images.shape[3])
    return mixed, torch.lerp(soft[partner], soft, share)


def _box(rows: int, columns: int, alpha: float, numbers: np.random.Generator) -> tuple[int, int, int, int]:
    """Top, bottom, left, right of CutMix's box: beta-distributed area, uniform centre, clipped at the border."""
    side = math.sqrt(1 - float(numbers.beta(alpha, alpha)))
    y, x = int(numbers.integers(rows)), int(numbers.integers(columns))
    half_y, half_x = int(0.5 * side * rows), int(0.5 * side * columns)
    return max(0, y - half_y), min(rows, y + half_y), max(0, x - half_x), min(columns, x + half_x)
