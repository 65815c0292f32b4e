from __future__ import annotations

import colorsys
from collections.abc import Callable

import pytest
import torch
from scipy.stats import binomtest, ks_2samp
from torch import Generator, Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from snellen.data.augment.colour import grey, jitter, luma, shift_hue

ADJUSTMENTS: list[Callable[[Tensor, float], Tensor]] = [
    tv.adjust_brightness,
    tv.adjust_contrast,
    tv.adjust_saturation,
]


def patch(photograph: Tensor, size: int = 48) -> Tensor:
    return photograph[:, 100 : 100 + size, 200 : 200 + size].float() / 255


def statistics(images: Tensor) -> dict[str, Tensor]:
    """(B,) figures that tell apart which changes were made, how strongly and in which order."""
    red, green, blue = images.mean((2, 3)).unbind(1)
    spread = (images.amax(1) - images.amin(1)).mean((1, 2))
    pixel = images[:, :, 7, 9]
    clipped_share = ((images == 0) | (images == 1)).float().mean((1, 2, 3))  # clipping depends on the order
    return {
        "red": red,
        "green - blue": green - blue,
        "colour": spread,
        "contrast": luma(images).flatten(1).std(1),
        "pixel's red": pixel[:, 0],
        "pixel's blue": pixel[:, 2],
        "clipped": clipped_share,
    }


@pytest.mark.parametrize("strength", [(0.8, 0.8, 0.8, 0.2), (0.4, 0.0, 0.3, 0.5), (2.0, 0.5, 0.0, 0.0)])
@pytest.mark.parametrize("probability", [1.0, 0.3])
def test_jitter_has_the_distribution_of_torchvision(
    photograph: Tensor, strength: tuple[float, float, float, float], probability: float
) -> None:
    count = 800
    image = patch(photograph, 16)
    actual = jitter(image.expand(count, -1, -1, -1).clone(), strength, probability, Generator().manual_seed(0))
    torch.manual_seed(0)
    reference = v2.RandomApply([v2.ColorJitter(*strength)], p=probability)
    expected = statistics(torch.stack([reference(image) for _ in range(count)]))
    for name, values in statistics(actual).items():
        assert ks_2samp(values, expected[name]).pvalue > 0.001, name


@pytest.mark.parametrize("kind", [0, 1, 2])
@pytest.mark.parametrize("factor", [0.0, 0.4, 1.0, 1.7])
def test_each_change_is_that_of_torchvision(photograph: Tensor, kind: int, factor: float) -> None:
    image = patch(photograph)
    # A strength s <= 1 draws from [1 - s, 1 + s]: read the drawn factor back from the brightness of a grey image.
    strength = [0.0, 0.0, 0.0, 0.0]
    strength[kind] = abs(factor - 1) or 1e-9
    seeds = range(40)
    results = [jitter(image[None].clone(), (*strength,), 1.0, Generator().manual_seed(seed))[0] for seed in seeds]
    factors = []
    for seed in seeds:
        generator = Generator().manual_seed(seed)
        torch.rand(1, generator=generator)
        torch.rand(1, 4, generator=generator)
        share = torch.rand(1, 4, generator=generator)[0, kind].item()
        factors.append(1 - strength[kind] + 2 * strength[kind] * share)
    for result, amount in zip(results, factors, strict=True):
        assert (result - ADJUSTMENTS[kind](image, amount)).abs().max() < 1e-3


@pytest.mark.parametrize("turn", [-0.5, -0.2, 0.0, 0.13, 0.5])
def test_hue_is_turned_as_in_hsv(turn: float) -> None:
    generator = Generator().manual_seed(0)
    image = torch.rand(1, 3, 12, 12, generator=generator)
    image[:, :, 0] = image[:, :1, 0]  # greys have no hue
    image[:, :, 1] = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]]).T.repeat(1, 3)[None]
    expected = torch.empty_like(image)
    for y in range(12):
        for x in range(12):
            hue, saturation, value = colorsys.rgb_to_hsv(*image[0, :, y, x].tolist())
            expected[0, :, y, x] = torch.tensor(colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value))
    result = image.clone()
    shift_hue(result, torch.full((1, 1, 1, 1), turn))
    assert (result - expected).abs().max() < 1e-5
    assert (result - tv.adjust_hue(image, turn)).abs().max() < 1e-4


def test_images_jittered_together_are_as_jittered_in_large_blocks(photograph: Tensor) -> None:
    """A large image makes blocks of one; the same draws must give the same colours as in one block of many."""
    small = torch.stack([patch(photograph, 16)] * 6)
    large = torch.nn.functional.interpolate(small, scale_factor=32)  # the same pixels, repeated: same mean
    small_blocks = jitter(small, (0.4, 0.4, 0.4, 0.1), 0.8, Generator().manual_seed(5))
    large_blocks = jitter(large, (0.4, 0.4, 0.4, 0.1), 0.8, Generator().manual_seed(5))
    assert (large_blocks[..., ::32, ::32] - small_blocks).abs().max() < 1e-4


def test_grey_takes_the_colour_out_of_a_share_of_the_images(photograph: Tensor) -> None:
    image = patch(photograph, 16)
    result = grey(image.expand(2000, -1, -1, -1).clone(), 0.2, Generator().manual_seed(0))
    is_grey = (result[:, 0] == result[:, 1]).flatten(1).all(1)
    assert binomtest(int(is_grey.sum()), 2000, 0.2).pvalue > 0.001
    assert (result[is_grey] - tv.rgb_to_grayscale(image, 3)).abs().max() < 1e-3
    assert torch.equal(result[~is_grey], image.expand(int((~is_grey).sum()), -1, -1, -1))
