"""Layers that can be exported compute what their originals do."""

from __future__ import annotations

import pytest
import torch
from timm.layers import Conv2dSame
from torch import nn

from snellen.exporting.any_size import BinMeans, replace_layers


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (6, 6), (7, 13), (24, 31)])
def test_means_are_those_of_torch(size: tuple[int, int]) -> None:
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    for bins in ((1, 3), (2, 2), (6, 6), (6, 4)):
        torch.testing.assert_close(BinMeans(*bins)(images), nn.AdaptiveAvgPool2d(bins)(images), atol=1e-6, rtol=1e-5)


def test_global_means_stay() -> None:
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Sequential(nn.AdaptiveAvgPool2d((2, 3)), nn.AdaptiveAvgPool2d(6)))
    replace_layers(model)
    kinds = [type(layer).__name__ for layer in model.modules() if not isinstance(layer, nn.Sequential)]
    assert kinds == ["AdaptiveAvgPool2d", "BinMeans", "BinMeans"]


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"), [(3, 2, 1), (5, 2, 1), (3, 1, 2), (1, 2, 1), (2, 2, 1), (5, 1, 1)]
)
def test_padding_is_that_of_timm(kernel: int, stride: int, dilation: int) -> None:
    conv = Conv2dSame(4, 4, kernel, stride, dilation=dilation, groups=2)
    model = nn.Sequential(conv)
    replace_layers(model)
    images = torch.randn(1, 4, 12, 18)
    torch.testing.assert_close(model(images), conv(images))
