"""Image and mask move together, and as torchvision would move them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp
from torch import Generator, Tensor
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as tv

from snellen.data.augment.framing import Mirrored
from snellen.data.batch import RawBatch
from snellen.data.cache import pad
from snellen.data.masks.augment import Warped, Windows, random_windows, warp
from snellen.data.masks.classes import IGNORE
from snellen.data.masks.spec import MaskAugmentationSpec

SIZE = (40, 60)


def coordinates(height: int, width: int) -> Tensor:
    """(3, h, w) uint8 whose red is 4 x, whose green is 4 y."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([4 * x, 4 * y, torch.full_like(x, 200)]).to(torch.uint8)


def labels(height: int, width: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 250, (1, height, width), generator=Generator().manual_seed(seed)).to(torch.uint8)


def warp_one(image: Tensor, mask: Tensor, windows: Windows) -> Warped:
    return warp(pad([image]), mask[None], windows)


def windows(
    scaled: tuple[int, int], corner: tuple[int, int], size: tuple[int, int], degrees: float = 0.0, flips: str = ""
) -> Windows:
    return Windows(
        torch.tensor([scaled]),
        torch.tensor([corner]),
        torch.tensor([size]),
        torch.tensor([degrees], dtype=torch.float64),
        Mirrored(torch.tensor(["s" in flips]), torch.tensor(["u" in flips])),
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.4, 2.5), st.floats(0, 180), st.booleans(), st.sampled_from([None, (37, 50)]))
def test_masks_stay_aligned_with_images(
    seed: int, scale: float, rotation: float, flip: bool, size: tuple[int, int] | None
) -> None:
    """Where the image says that it came from, there the mask has its class from."""
    mask = labels(*SIZE, seed)
    sizes = torch.tensor([SIZE])
    spec = MaskAugmentationSpec(size=size, scale=(scale, scale), rotation=rotation, flip=flip, vertical_flip=0.5)
    parameters = random_windows(sizes, spec, Generator().manual_seed(seed))
    result = warp_one(coordinates(*SIZE), mask, parameters)
    x, y = (result.pixels[0, channel].double() / 4 for channel in (0, 1))
    is_covered = torch.ones_like(x, dtype=torch.bool) if result.covered is None else result.covered[0]
    assert (result.labels[0] == IGNORE).equal(~is_covered)
    inner = is_covered & (x > 0.1) & (x < SIZE[1] - 1.1) & (y > 0.1) & (y < SIZE[0] - 1.1)
    for coordinate in (x, y):  # within 0.01 px of the border of two pixels, either class is right
        inner &= ((coordinate + 0.5).frac() - 0.5).abs() < 0.49
    expected = mask[0][(y + 0.5).long().clamp(0, SIZE[0] - 1), (x + 0.5).long().clamp(0, SIZE[1] - 1)]
    assert result.labels[0][inner].equal(expected[inner])


@pytest.mark.parametrize("scaled", [(80, 120), (61, 77), (40, 60)])
@pytest.mark.parametrize("flips", ["", "s", "u", "su"])
def test_scale_crop_and_flips_are_those_of_torchvision(photograph: Tensor, scaled: tuple[int, int], flips: str) -> None:
    image, mask = photograph[:, : SIZE[0], : SIZE[1]], labels(*SIZE)
    result = warp_one(image, mask, windows(scaled, (3, 5), (32, 48), flips=flips))
    large = tv.resize(image.float(), list(scaled), InterpolationMode.BILINEAR, antialias=False)
    classes = tv.resize(mask, list(scaled), InterpolationMode.NEAREST_EXACT)
    axes = [axis for axis, flip in ((1, "u"), (2, "s")) if flip in flips]
    cut, classes = (tv.crop(picture, 3, 5, 32, 48).flip(axes) for picture in (large, classes))
    assert (result.pixels[0] - cut).abs().max() < 0.1
    assert (result.labels == classes).float().mean() > 0.999  # ties of the nearest pixel


@pytest.mark.parametrize("angle", [10.0, -33.0, 90.0])
def test_rotation_is_that_of_torchvision(photograph: Tensor, angle: float) -> None:
    image, mask = photograph[:, :48, :48], labels(48, 48)
    result = warp_one(image, mask, windows((48, 48), (0, 0), (48, 48), angle))
    expected = tv.rotate(image.float(), angle, InterpolationMode.BILINEAR, fill=None)
    classes = tv.rotate(mask, angle, InterpolationMode.NEAREST, fill=[IGNORE])
    shares = tv.rotate(torch.ones(1, 48, 48), angle, InterpolationMode.BILINEAR, fill=None)[0]
    is_inside = shares > 0.9999  # torchvision blends the outermost pixels with black
    assert (result.pixels[0] - expected)[:, is_inside].abs().max() < 0.1
    assert (result.labels == classes).float().mean() > 0.99


@pytest.mark.parametrize("size", [(24, 90), (30, 30)])
def test_the_distribution_is_that_of_torchvision(size: tuple[int, int]) -> None:
    """Scale, place, flips and share of padding of a coordinate image, against ScaleJitter, RandomCrop and flips."""
    count = 1500
    image, mask = coordinates(*SIZE), torch.zeros(1, *SIZE, dtype=torch.uint8)
    joint = v2.Compose(
        [
            v2.ScaleJitter(SIZE[::-1], (0.6, 1.9), antialias=False),  # it takes width before height
            v2.RandomCrop(size, pad_if_needed=True, fill={tv_tensors.Image: 0, tv_tensors.Mask: IGNORE}),
            v2.RandomHorizontalFlip(0.3),
        ]
    )
    torch.manual_seed(0)
    expected = []
    for _ in range(count):
        pixels, classes = joint(tv_tensors.Image(image), tv_tensors.Mask(mask))
        expected.append(describe(pixels.float(), classes[0]))
    spec = MaskAugmentationSpec(size=size, scale=(0.6, 1.9), flip=0.3)
    parameters = random_windows(torch.tensor([SIZE]).expand(count, 2), spec, Generator().manual_seed(0))
    raw = RawBatch(image.expand(count, -1, -1, -1), torch.tensor([SIZE]).expand(count, 2), True)
    result = warp(raw, mask.expand(count, 1, -1, -1), parameters)
    actual = [describe(*pair) for pair in zip(result.pixels, result.labels, strict=True)]
    for name, sample, reference_sample in zip(
        ("x", "y", "step", "padded"), np.transpose(actual), np.transpose(expected), strict=True
    ):
        assert ks_2samp(sample, reference_sample).pvalue > 0.001, name


def describe(pixels: Tensor, classes: Tensor) -> tuple[float, float, float, float]:
    """Mean x and y that the scored pixels came from, the step of x from one to the next, and the share of padding."""
    is_inside = classes != IGNORE
    rows, columns = torch.nonzero(is_inside.any(1))[:, 0], torch.nonzero(is_inside.any(0))[:, 0]
    part = pixels[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    step = (part[0, 0, -1] - part[0, 0, 0]) / max(1, part.shape[2] - 1)
    padded = 1 - is_inside.float().mean()
    return tuple(round(float(v), 2) for v in (part[0].mean(), part[1].mean(), step, padded))  # type: ignore[return-value]


def test_each_image_has_its_own_parameters_and_a_batch_changes_none(photograph: Tensor) -> None:
    """Images of different sizes in one batch come out as they would alone, and the rest of the batch is not scored."""
    images = [photograph[:, :40, :60], photograph[:, 50:100, 10:40]]
    masks = [labels(40, 60), labels(50, 30)]
    raw, raw_masks = pad(images), pad(masks, fill=IGNORE)
    spec = MaskAugmentationSpec(scale=(0.5, 2.0), rotation=20, flip=0.5, vertical_flip=0.5)
    batch_parameters = random_windows(raw.sizes, spec, Generator().manual_seed(3))
    assert len(batch_parameters.degrees.unique()) == 2
    batch_result = warp(raw, raw_masks.pixels, batch_parameters)
    for row in range(2):
        part = slice(row, row + 1)
        mirrored = Mirrored(batch_parameters.mirrored.sideways[part], batch_parameters.mirrored.upside_down[part])
        parameters = Windows(
            batch_parameters.scaled[part],
            batch_parameters.corner[part],
            batch_parameters.window[part],
            batch_parameters.degrees[part],
            mirrored,
        )
        single_result = warp_one(images[row], masks[row], parameters)
        height, width = single_result.labels.shape[1:]
        assert batch_result.labels[row, :height, :width].equal(single_result.labels[0])
        is_covered = single_result.covered[0]  # type: ignore[index]
        assert (batch_result.pixels[row, :, :height, :width] - single_result.pixels[0])[
            :, is_covered
        ].abs().max() < 0.01
        assert (batch_result.labels[row, height:] == IGNORE).all()
        assert (batch_result.labels[row, :, width:] == IGNORE).all()
