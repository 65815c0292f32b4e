"""Layers that can be exported compute what their originals do."""

from __future__ import annotations

import copy

import pytest
import torch
from segmentation_models_pytorch.decoders.pspnet.decoder import PSPBlock
from timm.layers import Conv2dSame
from torch import nn

from snellen.exporting.any_size import BinMeans, PyramidLevel, replace_layers
from snellen.exporting.network import NORMALISED
from snellen.exporting.onnx_file import open_session
from snellen.models.segmenters.build import SegmenterSpec, build_segmenter
from snellen.tasks.segmentation.exported_network import segmenter_graph


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


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (6, 6), (7, 13), (64, 45)])
def test_pyramid_levels_are_those_of_smp(size: tuple[int, int]) -> None:
    images = torch.randn(2, 8, *size, generator=torch.Generator().manual_seed(0))
    for bins in (1, 2, 3, 6):
        model = nn.Sequential(PSPBlock(8, 4, bins)).eval()
        with torch.no_grad():
            expected = model(images)
            replace_layers(model)
            assert isinstance(model[0], PyramidLevel)
            torch.testing.assert_close(model(images), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.slow
def test_pspnet_is_exported_for_any_size() -> None:
    """torch's exporter fixed the sizes of its pyramid; other sizes failed, or gave other numbers."""
    model = build_segmenter(SegmenterSpec(architecture="pspnet/resnet18"), 6, 0)[0].eval()
    graph = segmenter_graph(copy.deepcopy(model))
    session = open_session(graph.SerializeToString())
    for count, rows, columns in ((2, 4, 5), (1, 1, 1), (1, 1, 3), (3, 6, 7), (1, 44, 59)):
        images = torch.randn(count, 3, rows * model.stride, columns * model.stride)
        with torch.no_grad():
            expected = model.heads(images)[0]
        (logits,) = session.run(None, {NORMALISED: images.numpy()})
        torch.testing.assert_close(torch.from_numpy(logits), expected, atol=1e-4, rtol=1e-4)
