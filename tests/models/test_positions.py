"""The layer of a backbone with positions: which one, its output as a grid, and where that lies on the image."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.models import VisionTransformer

from snellen.models.backbones import build_backbone
from snellen.models.positions import PositionLayer, find_position_layer
from snellen.models.spec import BackboneSpec


def backbone_of(name: str, size: int) -> nn.Module:
    torch.manual_seed(0)
    return build_backbone(BackboneSpec(backbone=name), size, download=False).eval()


# Pitches: 2 poolings of 2, 3 of them, and so on; patches of 16. vit_tiny reads its class token: not its last block.
@pytest.mark.parametrize(
    ("name", "size", "layer", "side", "pitch"),
    [
        ("airnet", 32, "blocks.1", 7, 4),
        ("airnet", 64, "blocks", 7, 8),
        ("torchvision/vgg13", 32, "features.13", 8, 4),
        ("resnet18", 128, "layer3", 8, 16),
        ("resnet18", 100, "layer3", 7, 16),
        ("test_vit", 160, "blocks.4", 10, 16),
        ("test_vit3", 160, "blocks", 10, 16),  # averages its tokens
        pytest.param("vit_tiny_patch16_224", 224, "blocks.10", 14, 16, marks=pytest.mark.slow),
        pytest.param("deit_tiny_distilled_patch16_224", 224, "blocks.10", 14, 16, marks=pytest.mark.slow),
        pytest.param("swin_tiny_patch4_window7_224", 224, "layers", 7, 32, marks=pytest.mark.slow),
        pytest.param("convnext_tiny", 224, "norm_pre", 7, 32, marks=pytest.mark.slow),
    ],
)
def test_layers_by_hand(name: str, size: int, layer: str, side: int, pitch: float) -> None:
    found = find_position_layer(backbone_of(name, size), size)
    assert found is not None
    assert (found.name, found.side, found.pitch) == (layer, side, pitch)
    assert found.first + pitch * (side - 1) / 2 == (size - 1) / 2  # in the middle


def test_the_class_token_of_torchvisions_transformer_is_left_out() -> None:
    network = VisionTransformer(32, patch_size=4, num_layers=3, num_heads=2, hidden_dim=16, mlp_dim=32)
    network.heads = nn.Identity()  # type: ignore[assignment]
    found = find_position_layer(network, 32)
    assert found == PositionLayer("encoder.layers.encoder_layer_1", 8, leading=1, first=1.5, pitch=4)


@given(st.integers(2, 9), st.integers(0, 5), st.data())
def test_a_token_that_is_changed_alone_changes_its_own_position(side: int, leading: int, data: st.DataObject) -> None:
    row, column = data.draw(st.tuples(st.integers(0, side - 1), st.integers(0, side - 1)))
    tokens = torch.zeros(1, leading + side * side, 3)
    tokens[:, :leading] = 5
    tokens[0, leading + row * side + column] = torch.tensor([1.0, 2, 3])
    grid = PositionLayer("blocks.4", side, leading, 0, 1).as_grid(tokens)
    assert grid.shape == (1, 3, side, side)
    assert grid[0, :, row, column].tolist() == [1, 2, 3]
    assert grid.sum() == 6


def test_channels_last_maps_are_transposed() -> None:
    channels_first = torch.randn(2, 5, 3, 3)
    layer = PositionLayer("layers", 3, 0, 0, 1)
    assert torch.equal(layer.as_grid(channels_first.permute(0, 2, 3, 1)), channels_first)
    assert torch.equal(layer.as_grid(channels_first), channels_first)


@given(st.integers(2, 6), st.integers(0, 4), st.integers(1, 8), st.data())
def test_on_the_image_a_position_is_brightest_at_its_centre(
    side: int, first: int, pitch: int, data: st.DataObject
) -> None:
    position = data.draw(st.integers(0, side**2 - 1))
    shift = data.draw(st.tuples(st.integers(-first, 3), st.integers(-first, 3)))
    maps = torch.zeros(1, side**2)
    maps[0, position] = 1
    layer = PositionLayer("", side, 0, first, pitch)
    shifts = torch.tensor([shift], dtype=torch.float64)
    size = side * pitch + 7
    image = layer.on_image(maps.view(1, side, side), shifts, size)[0]
    row, column = (layer.centres(torch.tensor([position])) + shifts)[0].long().tolist()
    assert image[row, column] == pytest.approx(1, abs=1e-5)
    assert image.max() <= 1 + 1e-5
    assert divmod(int(image.argmax()), size) == (row, column)
    for index_row, index_column in itertools.product(range(-1, side + 1), repeat=2):  # also beyond the outer centres
        y, x = first + pitch * index_row + shift[0], first + pitch * index_column + shift[1]
        is_itself = (min(max(index_row, 0), side - 1), min(max(index_column, 0), side - 1)) == divmod(position, side)
        if 0 <= y < size and 0 <= x < size:
            assert image[y, x] == pytest.approx(float(is_itself), abs=0.03)


class Bypassed(nn.Module):
    """Two branches, one of which keeps its positions; then a layer through which all passes."""

    def __init__(self, joined: bool) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
        self.branch = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU())
        self.joined = nn.Identity() if joined else None

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        x = x + self.branch(x)
        return (x if self.joined is None else self.joined(x)).mean((2, 3))


def test_a_layer_that_is_bypassed_is_not_taken() -> None:
    for joined, name in ((False, "stem"), (True, "joined")):
        found = find_position_layer(Bypassed(joined), 8)
        assert found is not None
        assert found.name == name


def test_a_network_without_positions_has_no_such_layer() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4), nn.ReLU())
    assert find_position_layer(network, 8) is None
