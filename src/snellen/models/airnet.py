"""A small residual-free network for small images that trains fast from scratch."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_WHITENING = 24  # 2 x 2 patches of 3 channels: 12 directions, each with both signs
_WIDTHS = (64, 256, 256)
_REGULARISER = 5e-4  # added to the variance of each direction
_PIXELS_AT_ONCE = 250_000  # their patches take 48 MB
# Directions with a smaller share of the largest variance contain only rounding errors: bf16 leaves up to 1.3e-6
# (2^-18 / 3) in the colours of grey images; the smallest direction of colour photographs has 1e-5 or more (CIFAR-10:
# 1.2e-5).
_NO_VARIANCE = 2e-6


class AirNet(nn.Module):
    """Whitening convolution, then three blocks of two 3 x 3 convolutions with max-pooling, batch-norm and GELU.

    width: factor of the channels 64, 256, 256. Input: (B, 3, H, W), H and W at least 16; output: (B, 256 * width).
    The first layer is not trained (`whiten` sets it from the data); convolutions start as identities; batch-norm has
    no scale and forgets fast. Source: Jordan 2024, arXiv 2404.00498.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        widths = [max(8, round(width * base / 8) * 8) for base in _WIDTHS]
        self.whitening = nn.Conv2d(3, _WHITENING, 2)
        self.whitening.weight.requires_grad_(False)
        nn.init.zeros_(self.whitening.bias)  # type: ignore[arg-type]
        self.blocks = nn.Sequential(
            *(_Block(inputs, outputs) for inputs, outputs in zip([_WHITENING, *widths], widths, strict=False))
        )

    def forward(self, images: Tensor) -> Tensor:
        x = F.gelu(self.whitening(images))
        x = self.blocks(x)  # (B, D, H / 8, W / 8)
        return F.adaptive_max_pool2d(x, 1).flatten(1)

    @torch.no_grad()
    def whiten(self, batches: Iterable[Tensor]) -> None:
        """Sets the first layer so that its outputs on 2 x 2 patches of images are uncorrelated, of variance one.

        Directions without variance, such as the colours of grey images, get zero filters: those with at most 2e-6 of
        the largest direction's variance. Convolutions of the first block that would start as identities on their
        channels start from random values instead. As identities they would pass on rounding errors, which each
        batch-norm, having no learnt scale, amplifies as far as its epsilon allows, along with their gradient. batches:
        (n, 3, H, W) float, normalised as in training; a few thousand images are enough. They are accumulated batch by
        batch, a few images at a time.
        """
        covariance = patch_covariance(batches)
        values, vectors = torch.linalg.eigh(covariance)
        has_variance = values > _NO_VARIANCE * values[-1]
        filters = (vectors * has_variance / (values + _REGULARISER).sqrt()).T.reshape(12, 3, 2, 2)
        self.whitening.weight.copy_(torch.cat([filters, -filters]).to(self.whitening.weight))
        _start_at_random(self.blocks[0].conv1, ~torch.cat([has_variance, has_variance]))  # type: ignore[arg-type]


class _Block(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv1 = _identity_convolution(before, after)
        self.norm1 = _norm(after)
        self.conv2 = _identity_convolution(after, after)
        self.norm2 = _norm(after)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.conv1(x), 2)
        x = F.gelu(self.norm1(x))
        return F.gelu(self.norm2(self.conv2(x)))


def _identity_convolution(before: int, after: int) -> nn.Conv2d:
    conv = nn.Conv2d(before, after, 3, padding=1, bias=False)
    with torch.no_grad():
        nn.init.dirac_(conv.weight[: min(before, after)])  # the others keep PyTorch's random start
    return conv


def patch_covariance(batches: Iterable[Tensor]) -> Tensor:
    """(12, 12) float64: the mean of p pᵀ over the 2 x 2 patches p of all images, without subtracting their mean.

    batches: (n, 3, H, W) float. For images with sides of 64 px or more, every third patch in each direction is used,
    from 128 px on every fifth, and so on: odd steps, since even ones would hit the same pixels of JPEG's 8 x 8 blocks.
    """
    total, count = torch.zeros(12, 12, dtype=torch.float64), 0
    for batch in batches:
        step = 1 + 2 * (min(batch.shape[2:]) // 64)
        for images in torch.split(batch, max(1, _PIXELS_AT_ONCE // batch[0, 0].numel())):
            patches = F.unfold(images, 2, stride=step).double().transpose(0, 1).reshape(12, -1)
            total += patches @ patches.T
            count += patches.shape[1]
    return total / max(1, count)


@torch.no_grad()
def _start_at_random(conv: nn.Conv2d, empty: Tensor) -> None:
    """Starts output channels that would copy an `empty` input channel as PyTorch does, at random. empty: (C,) bool."""
    outputs = empty[: conv.out_channels].nonzero()[:, 0]
    bound = (conv.in_channels * conv.kernel_size[0] * conv.kernel_size[1]) ** -0.5
    start = torch.empty(len(outputs), *conv.weight.shape[1:])
    start.uniform_(-bound, bound, generator=torch.Generator().manual_seed(0))
    conv.weight[outputs.to(conv.weight.device)] = start.to(conv.weight)


def _norm(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels, momentum=0.4, eps=1e-5)
    norm.weight.requires_grad_(False)
    return norm
