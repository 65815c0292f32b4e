"""An unfolded convolution is torch's own, its gradients too."""

from __future__ import annotations

import copy

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from snellen.models.unfolded import UnfoldedConv2d, unfold_convolutions


@settings(max_examples=40, deadline=None)
@given(
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    side=st.tuples(st.integers(4, 7), st.integers(4, 7)),
    bias=st.booleans(),
)
def test_the_same_as_torch(
    kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int], side: tuple[int, int], bias: bool
) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(3, 5, kernel, stride, padding, bias=bias, dtype=torch.float64)
    unfolded = unfold_convolutions(copy.deepcopy(plain))
    assert isinstance(unfolded, UnfoldedConv2d)
    results = []
    for layer in (plain, unfolded):
        images = torch.randn(2, 3, *side, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        out = layer(images.requires_grad_())
        out.sin().sum().backward()
        results.append([out, images.grad, *(parameter.grad for parameter in layer.parameters())])
    torch.testing.assert_close(*results)


def test_only_plain_convolutions_and_no_names_are_changed() -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 4, 3, padding="same"))
    names = list(model.state_dict())
    unfold_convolutions(model)
    assert [type(layer) for layer in model] == [UnfoldedConv2d, nn.Conv2d, nn.Conv2d]
    assert list(model.state_dict()) == names
