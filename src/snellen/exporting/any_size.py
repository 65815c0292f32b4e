"""Layers for maps of any size whose originals torch's exporter translates for one size only, or never finishes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def replace_layers(model: nn.Module) -> None:
    """Replaces averages over bins, but not global ones, and TensorFlow's padding by layers that compute the same.

    pspnet's blocks are replaced whole, since they also enlarge the averages. Each convolution with such padding must
    see sides that are multiples of its stride.
    """
    from segmentation_models_pytorch.decoders.pspnet.decoder import PSPBlock
    from timm.layers import Conv2dSame

    for parent in list(model.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, PSPBlock):
                setattr(parent, name, PyramidLevel(layer.pool_size, layer.pool[1]))
            elif isinstance(layer, nn.AdaptiveAvgPool2d):
                rows, columns = layer.output_size if isinstance(layer.output_size, tuple) else (layer.output_size,) * 2
                if rows is not None and columns is not None and rows * columns > 1:
                    setattr(parent, name, BinMeans(rows, columns))
            elif isinstance(layer, Conv2dSame):
                setattr(parent, name, _with_fixed_padding(layer))


def _with_fixed_padding(conv: nn.Conv2d) -> nn.Module:
    """A convolution padded as TensorFlow does; the exporter would carry a formula of the size through all layers."""
    (top, bottom), (left, right) = (
        (total // 2, total - total // 2)
        for total in (
            max(0, (kernel - 1) * dilation + 1 - stride)
            for kernel, stride, dilation in zip(conv.kernel_size, conv.stride, conv.dilation, strict=True)
        )
    )
    return PaddedConv(conv, (left, right, top, bottom))


class PaddedConv(nn.Module):
    """A convolution after padding with zeros. padding: left, right, top, bottom."""

    def __init__(self, conv: nn.Conv2d, padding: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.conv, self.padding = conv, padding

    def forward(self, images: Tensor) -> Tensor:
        conv, padded = self.conv, F.pad(images, self.padding)
        return F.conv2d(padded, conv.weight, conv.bias, conv.stride, 0, conv.dilation, conv.groups)


class BinMeans(nn.Module):
    """As AdaptiveAvgPool2d: (B, C, H, W) to (B, C, rows, columns)."""

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.rows, self.columns = rows, columns

    def forward(self, images: Tensor) -> Tensor:
        down, across = _shares(images.shape[2], self.rows), _shares(images.shape[3], self.columns)
        return down @ images @ across.T


class PyramidLevel(nn.Module):
    """As smp's PSPBlock: means of bins x bins parts of the map, through a convolution, enlarged to the map's size.

    (B, C, H, W) to (B, c, H, W). The enlargement is linear with aligned corners.
    """

    def __init__(self, bins: int, conv: nn.Module) -> None:
        super().__init__()
        self.bins, self.conv = bins, conv

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        down, across = _shares(height, self.bins), _shares(width, self.bins)
        means: Tensor = self.conv(down @ images @ across.T)
        return _enlarging(self.bins, height) @ means @ _enlarging(self.bins, width).T


def _enlarging(bins: int, length: int) -> Tensor:
    """(length, bins) share of each bin in each line: linear interpolation, the first and last lines being bins."""
    last = torch.full((1,), length) - 1
    position = torch.arange(length).float() * ((bins - 1) / last.clamp(min=1).float())
    distance = (position[:, None] - torch.arange(bins).float()).abs()
    return (1 - distance).clamp(min=0)


def _shares(length: int, bins: int) -> Tensor:
    """(bins, length) share of each line in the mean of each bin; neighbouring bins may have a line in common."""
    number, line = torch.arange(bins)[:, None], torch.arange(length)
    first = torch.div(number * length, bins, rounding_mode="floor")
    end = torch.div((number + 1) * length + bins - 1, bins, rounding_mode="floor")
    inside = (line >= first) & (line < end)
    return inside.float() / (end - first)
