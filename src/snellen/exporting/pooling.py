"""Adaptive pooling of maps of any size, which torch's exporter only translates for one size."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def replace_adaptive_pooling(model: nn.Module) -> None:
    """Replaces each average over bins by the same as matrix products. Global averages stay."""
    for parent in list(model.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, nn.AdaptiveAvgPool2d):
                rows, columns = layer.output_size if isinstance(layer.output_size, tuple) else (layer.output_size,) * 2
                if rows is not None and columns is not None and rows * columns > 1:
                    setattr(parent, name, BinMeans(rows, columns))


class BinMeans(nn.Module):
    """As AdaptiveAvgPool2d: (B, C, H, W) to (B, C, rows, columns)."""

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.rows, self.columns = rows, columns

    def forward(self, images: Tensor) -> Tensor:
        down, across = _shares(images.shape[2], self.rows), _shares(images.shape[3], self.columns)
        return down @ images @ across.T


def _shares(length: int, bins: int) -> Tensor:
    """(bins, length) share of each line in the mean of each bin; neighbouring bins may have a line in common."""
    number, line = torch.arange(bins)[:, None], torch.arange(length)
    first = torch.div(number * length, bins, rounding_mode="floor")
    end = torch.div((number + 1) * length + bins - 1, bins, rounding_mode="floor")
    inside = (line >= first) & (line < end)
    return inside.float() / (end - first)
