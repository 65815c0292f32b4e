from __future__ import annotations

import pytest
import torch
from scipy.stats import binomtest, kstest
from torch import Generator, Tensor
from torchvision.transforms.v2 import functional as tv

from snellen.data.augment.blur import blur


@pytest.mark.parametrize("kernel", [3, 5, 23])
@pytest.mark.parametrize("sigma", [0.1, 1.0, 2.0])
def test_blur_is_that_of_torchvision(photograph: Tensor, kernel: int, sigma: float) -> None:
    images = torch.stack([photograph[:, :40, :60], photograph[:, 50:90, 100:160]]).float() / 255
    expected = tv.gaussian_blur(images, [kernel, kernel], [sigma, sigma])
    result = blur(images.clone(), 1.0, (sigma, sigma), kernel, Generator().manual_seed(0))
    assert (result - expected).abs().max() < 1e-5


def test_deviations_are_uniform_and_each_image_has_its_own() -> None:
    count = 2000
    images = torch.zeros(count, 3, 5, 5)
    images[:, :, 2, 2] = 1
    result = blur(images, 0.5, (0.5, 2.0), 3, Generator().manual_seed(0))[:, 0]
    is_blurred = result[:, 2, 2] < 1
    assert binomtest(int(is_blurred.sum()), count, 0.5).pvalue > 0.001
    neighbour = result[is_blurred, 2, 1] / result[is_blurred, 2, 2]  # exp(-1 / (2 sigma^2))
    sigma = (-1 / (2 * neighbour.log())).sqrt()
    assert kstest(sigma.numpy(), "uniform", args=(0.5, 1.5)).pvalue > 0.001


@pytest.mark.parametrize("shape", [(1, 1), (2, 9), (1, 30)])
def test_images_smaller_than_the_kernel_keep_their_brightness(shape: tuple[int, int]) -> None:
    result = blur(torch.full((2, 3, *shape), 0.6), 1.0, (1.0, 2.0), 23, Generator().manual_seed(0))
    assert (result - 0.6).abs().max() < 1e-5
