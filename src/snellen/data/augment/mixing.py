"""Mixup and CutMix: pairs of images and their labels blended."""

from __future__ import annotations

import math

import numpy as np
import torch
from pydantic import Field
from torch import Generator, Tensor
from torch.nn import functional as F

from snellen.spec import Spec


class MixSpec(Spec):
    """Both given: one of them is drawn for each batch, with equal chance. Label smoothing is loss.smoothing."""

    mixup: float = Field(0.0, ge=0, description="Mixup's alpha: the share of each image is Beta(alpha, alpha). 0: off.")
    cutmix: float = Field(0.0, ge=0, description="CutMix's alpha: the area of the pasted box is Beta. 0: off.")
    probability: float = Field(1.0, ge=0, le=1, description="Chance that a batch is mixed at all.")


def soft_targets(target: Tensor, classes: int) -> Tensor:
    """(B,) int64 classes as (B, C) float32 distributions."""
    return F.one_hot(target, classes).float()


def mix(images: Tensor, soft: Tensor, spec: MixSpec, generator: Generator) -> tuple[Tensor, Tensor]:
    """The batch blended with a permutation of itself. images: (B, 3, H, W). soft: (B, C), rows sum to 1.

    Sources: mixup, Zhang et al. 2017, arXiv 1710.09412, eq. 1; CutMix, Yun et al. 2019, arXiv 1905.04899, eq. 1-2.
    """
    chance, which, seed = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
    partner = torch.randperm(len(images), generator=generator).to(images.device)
    if chance >= spec.probability:
        return images, soft
    numbers = np.random.default_rng(int(seed * 2**53))
    if spec.cutmix == 0 or (spec.mixup > 0 and which < 0.5):
        share = float(numbers.beta(spec.mixup, spec.mixup))
        return share * images + (1 - share) * images[partner], share * soft + (1 - share) * soft[partner]
    share = float(numbers.beta(spec.cutmix, spec.cutmix))
    rows, columns = images.shape[2:]
    y, x = numbers.integers(rows), numbers.integers(columns)
    half_y, half_x = (0.5 * math.sqrt(1 - share) * side for side in (rows, columns))
    top, bottom = max(0, int(y - half_y)), min(rows, int(y + half_y))
    left, right = max(0, int(x - half_x)), min(columns, int(x + half_x))
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = images[partner, :, top:bottom, left:right]
    share = 1 - (bottom - top) * (right - left) / (rows * columns)  # the box may have been cut at the border
    return mixed, share * soft + (1 - share) * soft[partner]
