"""Tiles cover an image of any size with weights that sum to one, and blending them gives the whole image's scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from snellen.tasks.segmentation.tiling import Blender, plan_tiles, stretched

SIDES = st.integers(1, 300)
CPU = torch.device("cpu")


def blend(network: nn.Module, image: Tensor, tile_size: int, overlap: int, align: int = 8) -> Tensor:
    """Scores of a (3, h, w) image by tiles, padded with zeros where they overhang; (C, h, w)."""
    height, width = image.shape[1:]
    plan = plan_tiles(height, width, tile_size, overlap, align)
    classes = network(image[None, :, :8, :8]).shape[1]
    blender, result = Blender(plan, classes, CPU), torch.full((classes, height, width), torch.nan)
    for tile in plan.tiles:
        padded = torch.zeros(1, 3, *plan.size)
        part = image[:, tile.top : tile.top + tile.height, tile.left : tile.left + tile.width]
        padded[0, :, : tile.height, : tile.width] = part
        block = blender.add(network(padded)[0])
        rows, columns = block.scores.shape[1:]
        region = result[:, block.top : block.top + rows, block.left : block.left + columns]
        assert region.isnan().all()  # no pixel is finished twice
        region.copy_(block.scores)
    return result


@settings(max_examples=150, deadline=None)
@given(SIDES, SIDES, st.integers(4, 12), st.floats(0, 1))
def test_weights_are_positive_and_sum_to_one(height: int, width: int, units: int, share: float) -> None:
    tile_size, overlap = 8 * units, 8 * int(share * units / 2)
    plan = plan_tiles(height, width, tile_size, overlap, 8)
    total = np.zeros((height, width))
    for number, tile in enumerate(plan.tiles):
        row, column = divmod(number, len(plan.columns.starts))
        weights = np.outer(plan.rows.weights[row], plan.columns.weights[column])
        assert weights.shape == plan.size
        assert weights.min() > 0
        assert (tile.top % 8, tile.left % 8) == (0, 0)
        total[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width] += weights[
            : tile.height, : tile.width
        ]
    np.testing.assert_allclose(total, 1, atol=1e-12)
    assert max(plan.size) <= tile_size
    for axis in (plan.rows, plan.columns):
        gaps = np.diff(axis.starts)
        assert (axis.size - gaps >= overlap).all()
        assert axis.starts[-1] + axis.size >= axis.length > axis.starts[-1]


@settings(max_examples=60, deadline=None)
@given(SIDES, SIDES, st.integers(4, 9), st.floats(0, 1))
def test_blocks_cover_the_image_once_and_a_pointwise_network_is_unchanged(
    height: int, width: int, units: int, share: float
) -> None:
    image = torch.rand(3, height, width, generator=torch.Generator().manual_seed(height * 1000 + width))
    scores = blend(nn.Identity(), image, 8 * units, 8 * int(share * units / 2) - 3 * (share > 0.5))
    torch.testing.assert_close(scores, image, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (150, 97), (33, 260), (201, 200)])
def test_tiles_give_what_the_whole_image_gives(height: int, width: int) -> None:
    """Exactly where nothing but the whole image's own border is padding: to 1e-5 of scores of about 1.

    Three convolutions see 3 px, less than a quarter of the overlap of 16; a fourth, strided one is put back by
    interpolation in steps of 2 px, to which the tiles are aligned.
    """
    torch.manual_seed(1)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 2, stride=2), nn.ReLU(), nn.Conv2d(8, 5, 1),
        nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2d(5, 5, 3, padding=1),
    )  # fmt: skip
    image = torch.rand(3, height, width)
    padded = nn.functional.pad(image, (0, -width % 8, 0, -height % 8))
    with torch.no_grad():
        expected = network(padded[None])[0, :, :height, :width]
        tiled = blend(network, image, 64, 16)
    torch.testing.assert_close(tiled, expected, atol=1e-5, rtol=0)


@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 50), st.integers(1, 50), st.data())
def test_stretched_rows_are_those_of_the_whole(
    lines: int, columns: int, height: int, width: int, data: st.DataObject
) -> None:
    top = data.draw(st.integers(0, height - 1))
    rows = data.draw(st.integers(1, height - top))
    scores = torch.rand(2, lines, columns)
    expected = nn.functional.interpolate(scores[None], size=(height, width), mode="bilinear")[0]
    torch.testing.assert_close(
        stretched(scores, height, width, top, rows), expected[:, top : top + rows], atol=1e-5, rtol=0
    )


def test_a_small_image_is_one_tile() -> None:
    plan = plan_tiles(100, 50, 128, 32)
    assert (len(plan.tiles), plan.size) == (1, (128, 64))


def test_tiles_are_as_small_as_their_number_allows() -> None:
    assert plan_tiles(800, 700, 768, 128).size == (480, 704)


@pytest.mark.parametrize(("tile", "overlap"), [(16, 0), (64, 33), (64, -40)])
def test_impossible_tiles_are_refused(tile: int, overlap: int) -> None:
    with pytest.raises(ValueError, match="no tiles"):
        plan_tiles(100, 100, tile, overlap)
