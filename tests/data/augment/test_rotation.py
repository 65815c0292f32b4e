from __future__ import annotations

import pytest
import torch
from scipy.stats import kstest
from torch import Generator, Tensor
from torch.nn import functional as F
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from snellen.data.augment.framing import Mirrored
from snellen.data.augment.pipeline import Augmentation
from snellen.data.augment.rotation import rotate
from snellen.data.augment.spec import AugmentationSpec
from snellen.data.batch import RawBatch
from snellen.data.normalization import Normalization

ANGLES = torch.tensor([0.0, 10.0, -7.3, 45.0, 90.0, 180.0])


def no_flips(count: int) -> Mirrored:
    return Mirrored(torch.zeros(count, dtype=torch.bool), torch.zeros(count, dtype=torch.bool))


@pytest.mark.parametrize("size", [31, 32])
def test_rotation_is_that_of_torchvision(photograph: Tensor, size: int) -> None:
    tiles = photograph[None, :, :size, :size].expand(len(ANGLES), -1, -1, -1)
    windows = torch.full((len(ANGLES), 2), size)
    result = rotate(tiles, windows, ANGLES, no_flips(len(ANGLES)))
    for row, angle in enumerate(ANGLES.tolist()):
        # fill=None: torchvision's fill of 0 weighs the half-covered pixels of the turned border twice
        expected = tv.rotate(tiles[row].float(), angle, InterpolationMode.BILINEAR, fill=None)
        assert (result[row] - expected).abs().max() < 0.05


def test_flips_come_after_the_rotation(photograph: Tensor) -> None:
    tiles = photograph[None, :, 50:82, 50:82].expand(4, -1, -1, -1)
    windows, degrees = torch.full((4, 2), 32), torch.full((4,), 20.0)
    plain = rotate(tiles, windows, degrees, no_flips(4))
    flips = Mirrored(torch.tensor([False, True, False, True]), torch.tensor([False, False, True, True]))
    result = rotate(tiles, windows, degrees, flips)
    for row, axes in enumerate([[], [2], [1], [1, 2]]):
        assert (result[row] - plain[row].flip(axes)).abs().max() < 0.05


def test_enlarging_without_turning_is_bilinear_interpolation(photograph: Tensor) -> None:
    windows = torch.tensor([[20, 64], [64, 64], [1, 33]])
    tiles = photograph[None, :, :64, :64].expand(3, -1, -1, -1)
    result = rotate(tiles, windows, torch.zeros(3), no_flips(3))
    for row, (height, width) in enumerate(windows.tolist()):
        corner = tiles[row : row + 1, :, :height, :width].float()
        expected = F.interpolate(corner, size=(64, 64), mode="bilinear", align_corners=False)[0]
        assert (result[row] - expected).abs().max() < 0.05


def test_enlarged_and_turned_images_are_black_only_outside() -> None:
    tiles = torch.full((1, 3, 64, 64), 200, dtype=torch.uint8)
    tiles[:, :, 20:] = 0  # beyond what is shown, so it must not be seen
    result = rotate(tiles, torch.tensor([[20, 64]]), torch.tensor([45.0]), no_flips(1))[0, 0]
    expected = tv.rotate(torch.full((1, 64, 64), 200.0), 45.0, InterpolationMode.BILINEAR, fill=None)[0]
    assert (result - expected).abs().mean() < 1.5  # half-covered pixels of the border differ a little
    is_inside = expected > 199.9
    assert (result[is_inside] - 200).abs().max() < 0.05


def test_angles_are_uniform_both_ways() -> None:
    """A bright dot off the centre shows the angle of rotation."""
    count = 3000
    image = torch.zeros(3, 33, 33, dtype=torch.uint8)
    image[:, 14:19, 26:31] = 255
    spec = AugmentationSpec(size=33, crop="center", rotation=25, flip=0)
    augmentation = Augmentation(spec, Normalization((0.0,) * 3, (1.0,) * 3, ""), torch.device("cpu"))
    raw = RawBatch(image.expand(count, -1, -1, -1), torch.full((count, 2), 33), True)
    views = augmentation.train(raw, Generator().manual_seed(0), epoch=1, rows=torch.arange(count))[:, 0]
    line = torch.arange(33.0) - 16
    angles = torch.atan2((views * line[:, None]).sum((1, 2)), (views * line[None, :]).sum((1, 2))).rad2deg()
    assert kstest(angles.numpy(), "uniform", args=(-25, 50)).pvalue > 0.001
