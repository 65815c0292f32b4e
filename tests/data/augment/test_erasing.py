from __future__ import annotations

import pytest
import torch
from scipy.stats import ks_2samp
from torch import Generator, Tensor
from torchvision.transforms import v2

from snellen.data.augment.erasing import erase


def rectangles(images: Tensor) -> dict[str, Tensor]:
    """(B,) top, left, height and width of what is zero; all 0 where nothing is."""
    is_erased = images[:, 0] == 0
    rows, columns = is_erased.any(2), is_erased.any(1)
    return {
        "height": rows.sum(1),
        "width": columns.sum(1),
        "top": rows.int().argmax(1),
        "left": columns.int().argmax(1),
        "area": is_erased.sum((1, 2)),
    }


@pytest.mark.parametrize("shape", [(32, 32), (20, 64), (9, 4), (3, 3)])
@pytest.mark.parametrize("probability", [0.25, 1.0])
def test_rectangles_have_the_distribution_of_torchvision(shape: tuple[int, int], probability: float) -> None:
    count = 2500
    images = torch.ones(count, 3, *shape)
    torch.manual_seed(0)
    reference = v2.RandomErasing(probability, scale=(0.02, 0.33), ratio=(0.3, 3.3))
    expected = rectangles(torch.stack([reference(image) for image in images]))
    actual = rectangles(erase(images, probability, (0.02, 0.33), (0.3, 3.3), Generator().manual_seed(0)))
    for name, values in actual.items():
        assert ks_2samp(values, expected[name], method="asymp").pvalue > 0.001, name
    assert torch.equal(actual["area"], actual["height"] * actual["width"])


def test_an_image_of_one_pixel_is_unchanged() -> None:
    assert erase(torch.ones(20, 3, 1, 1), 1.0, (0.02, 0.33), (0.3, 3.3), Generator().manual_seed(0)).min() == 1


def test_an_image_that_no_rectangle_fits_into_is_unchanged() -> None:
    assert erase(torch.ones(20, 3, 8, 8), 1.0, (0.99, 1.0), (1.0, 1.0), Generator().manual_seed(0)).min() == 1
