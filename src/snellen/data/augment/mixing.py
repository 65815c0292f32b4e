"""Mixup and CutMix: pairs of images and their labels blended."""

from __future__ import annotations

import math
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Mixing:
    """How a batch is blended. partner: (B,) int64, the image that each is blended with. share: of the image itself.

    box: top, bottom, left, right of what CutMix takes from the partner; None for mixup.
    """

    partner: Tensor
    share: float
    box: tuple[int, int, int, int] | None

    def blend(self, images: Tensor, soft: Tensor, others: Tensor, other_soft: Tensor) -> tuple[Tensor, Tensor]:
        """Images (b, 3, H, W) and labels (b, C) blended with those of their partners."""
        if self.box is None:
            images = torch.lerp(others, images, self.share)
        else:
            top, bottom, left, right = self.box
            images = images.clone()
            images[:, :, top:bottom, left:right] = others[:, :, top:bottom, left:right]
        return images, torch.lerp(other_soft, soft, self.share)


def mix(images: Tensor, soft: Tensor, spec: MixSpec, generator: Generator) -> tuple[Tensor, Tensor]:
    """The batch blended with a permutation of itself, with one share for the whole batch.

    images: (B, 3, H, W) float. soft: (B, C), rows sum to 1. With neither mixup nor CutMix, both are returned unchanged.
    """
    mixing = draw_mixing(len(images), images.shape[2], images.shape[3], spec, generator)
    if mixing is None:
        return images, soft
    partner = mixing.partner.to(images.device)
    return mixing.blend(images, soft, images[partner], soft[partner])


def draw_mixing(count: int, rows: int, columns: int, spec: MixSpec, generator: Generator) -> Mixing | None:
    """How a batch of `count` images of rows x columns px is blended; None if it is left as it is.

    Sources: mixup, Zhang et al. 2017, arXiv 1710.09412, eq. 1; CutMix, Yun et al. 2019, arXiv 1905.04899, eq. 1-2.
    """
    chance, which, seed = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
    partner = torch.randperm(count, generator=generator)
    if chance >= spec.probability or not (spec.mixup or spec.cutmix):
        return None
    numbers = np.random.default_rng(int(seed * 2**53))  # torch draws Beta from its global generator only
    if spec.cutmix == 0 or (spec.mixup > 0 and which < 0.5):
        return Mixing(partner, float(numbers.beta(spec.mixup, spec.mixup)), None)
    top, bottom, left, right = box = _box(rows, columns, spec.cutmix, numbers)
    return Mixing(partner, 1 - (bottom - top) * (right - left) / (rows * columns), box)


def _box(rows: int, columns: int, alpha: float, numbers: np.random.Generator) -> tuple[int, int, int, int]:
    """Top, bottom, left, right of CutMix's box: beta-distributed area, uniform centre, clipped at the border."""
    side = math.sqrt(1 - float(numbers.beta(alpha, alpha)))
    y, x = int(numbers.integers(rows)), int(numbers.integers(columns))
    half_y, half_x = int(0.5 * side * rows), int(0.5 * side * columns)
    return max(0, y - half_y), min(rows, y + half_y), max(0, x - half_x), min(columns, x + half_x)
