"""Fully convolutional networks on a VGG. Source: Long, Shelhamer & Darrell 2015, arXiv 1411.4038."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from snellen.models.backbones import PooledFeatures
from snellen.models.segmenters.segmenter import Segmenter

_STRIDE = 32  # of the last of VGG's five poolings


class Fcn(Segmenter):
    """FCN-32s, 16s or 8s: predictions in steps of `step` pixels, enlarged by a transposed convolution.

    features: VGG's convolutions and poolings. width: channels of the two convolutions that follow them. 32s has no
    skips; its one transposed convolution goes from `width` channels to the classes with kernel and stride 32, so that
    each position of the features predicts its own 32 x 32 pixels. 16s and 8s add predictions from earlier poolings
    (initialised to zero) to enlarged ones, and enlarge with overlap, initialised as bilinear interpolation.
    """

    stride = _STRIDE

    def __init__(
        self, encoder_name: str, features: nn.Sequential, step: int, classes: int, width: int, dropout: float
    ) -> None:
        super().__init__()
        self.encoder_name = encoder_name
        self.backbone = PooledFeatures(features)  # so that layer names are those of a classifier
        channels = _pooled_channels(features)
        layers: list[nn.Module] = [nn.Conv2d(channels[-1], width, 3, padding=1), nn.ReLU(), nn.Dropout(dropout)]
        layers += [nn.Conv2d(width, width, 1), nn.ReLU(), nn.Dropout(dropout)]
        self.skips = nn.ModuleList()
        self.doubled = nn.ModuleList()
        if step == _STRIDE:
            self.new = ("enlarged.",)
            self.enlarged: nn.Module = nn.ConvTranspose2d(width, classes, step, step)
        else:
            self.new = ("decoder.6.", "skips.", "doubled.", "enlarged.")
            layers.append(nn.Conv2d(width, classes, 1))
            for before in channels[-2 : -2 - (_STRIDE // step).bit_length() + 1 : -1]:
                self.skips.append(_zeroed(nn.Conv2d(before, classes, 1)))
                self.doubled.append(_bilinear(classes, 2))
            self.enlarged = _bilinear(classes, step)
        self.decoder = nn.Sequential(*layers)

    def heads(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        pooled = []
        x = images
        for layer in cast("nn.Sequential", self.backbone.features):
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                pooled.append(x)
        x = self.decoder(x)  # (B, width or C, H / 32, W / 32)
        for skip, doubled, before in zip(self.skips, self.doubled, reversed(pooled[:-1]), strict=False):
            x = doubled(x) + skip(before)
        return self.enlarged(x), None


def _pooled_channels(features: nn.Sequential) -> list[int]:
    """Channels after each pooling."""
    channels, current = [], 3
    for layer in features:
        if isinstance(layer, nn.Conv2d):
            current = layer.out_channels
        if isinstance(layer, nn.MaxPool2d):
            channels.append(current)
    return channels


def _zeroed(conv: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(cast("Tensor", conv.bias))
    return conv


def _bilinear(classes: int, factor: int) -> nn.ConvTranspose2d:
    """Enlarges the map of each class `factor` times, initialised as bilinear interpolation."""
    conv = nn.ConvTranspose2d(classes, classes, 2 * factor, factor, padding=factor // 2, bias=False)
    line = 1 - (torch.arange(2 * factor) + 0.5 - factor).abs() / factor
    with torch.no_grad():
        conv.weight.zero_()
        for number in range(classes):
            conv.weight[number, number] = line[:, None] * line
    return conv
