"""Convolutions over few positions as matrix products, which are several times faster on some processors."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# From 8 x 8 positions on, copying the patches costs more than the product saves; below 5 x 5 it saves more.
_MOST_POSITIONS = 16


class UnfoldedConv2d(nn.Conv2d):
    """nn.Conv2d with the same weights and, up to rounding, the same result.

    If the output has at most 16 positions per image, the patches are laid out as rows (im2col: Chellapilla et al.
    2006) and multiplied with the weights at once. The usual kernels are slow there for the gradient of the weights.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) to (B, D, h, w)."""
        batch, _, height, width = input.shape
        assert not isinstance(self.padding, str)  # unfold_convolutions skips those
        (kh, kw), (sh, sw), (top, left) = self.kernel_size, self.stride, self.padding
        h, w = (height + 2 * top - kh) // sh + 1, (width + 2 * left - kw) // sw + 1
        if h * w > _MOST_POSITIONS:
            return super().forward(input)
        padded = F.pad(input.permute(0, 2, 3, 1), (0, 0, left, left, top, top))  # (B, H', W', C)
        patches = [
            padded[:, y : y + sh * (h - 1) + 1 : sh, x : x + sw * (w - 1) + 1 : sw]
            for y in range(kh)
            for x in range(kw)
        ]
        rows = torch.cat(patches, dim=3).reshape(batch * h * w, -1)  # (B h w, kh kw C)
        weight = self.weight.permute(2, 3, 1, 0).reshape(-1, self.out_channels)  # (kh kw C, D)
        out = rows @ weight if self.bias is None else torch.addmm(self.bias, rows, weight)
        return out.view(batch, h, w, -1).permute(0, 3, 1, 2)


def unfold_convolutions(model: nn.Module) -> nn.Module:
    """Turns each plain convolution of `model` into an UnfoldedConv2d, in place; names and weights are kept."""
    for module in model.modules():
        plain = type(module) is nn.Conv2d and module.groups == 1 and module.dilation == (1, 1)
        if plain and module.padding_mode == "zeros" and not isinstance(module.padding, str):
            module.__class__ = UnfoldedConv2d
    return model
