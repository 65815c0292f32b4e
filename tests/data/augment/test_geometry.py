from __future__ import annotations

import pytest
import torch
from scipy.stats import chisquare, ks_2samp
from torch import Generator, Tensor
from torchvision.transforms import v2

from snellen.data.augment.geometry import Views, central_windows, random_windows, resized_crops, squashed

DRAWS = 4000


def seeded() -> Generator:
    return Generator().manual_seed(0)


def repeated(height: int, width: int, count: int = DRAWS) -> Tensor:
    return torch.tensor([[height, width]]).expand(count, 2)


@pytest.mark.parametrize("size", [(200, 300), (300, 90), (33, 32), (400, 40), (40, 400), (5, 3)])
@pytest.mark.parametrize(("scale", "ratio"), [((0.08, 1.0), (3 / 4, 4 / 3)), ((0.5, 0.9), (0.4, 1.1))])
def test_resized_crops_have_the_distribution_of_torchvision(
    size: tuple[int, int], scale: tuple[float, float], ratio: tuple[float, float]
) -> None:
    torch.manual_seed(1)
    reference = v2.RandomResizedCrop(224, scale=scale, ratio=ratio)
    image = torch.empty(3, *size)
    expected = [reference.make_params([image]) for _ in range(DRAWS)]
    box = resized_crops(repeated(*size), 224, scale, ratio, seeded()).box
    for column, key in enumerate(["top", "left", "height", "width"]):
        other = [parameters[key] for parameters in expected]
        assert ks_2samp(box[:, column], other).pvalue > 0.001, key
    shapes = box[:, 2].double() * box[:, 3]  # jointly too: the area, not only the sides
    assert ks_2samp(shapes, [p["height"] * p["width"] for p in expected]).pvalue > 0.001


def test_resized_crops_of_one_pixel_are_that_pixel() -> None:
    views = resized_crops(repeated(1, 1, 50), 32, (0.08, 1.0), (3 / 4, 4 / 3), seeded())
    assert torch.equal(views.box, torch.tensor([[0, 0, 1, 1]]).expand(50, 4))
    assert (views.scaled == 32).all()


def test_a_line_of_pixels_keeps_a_box_of_at_least_one_pixel() -> None:
    views = resized_crops(repeated(1, 500, 50), 32, (0.08, 1.0), (0.2, 0.3), seeded())
    assert (views.box[:, 2:] >= 1).all()
    assert (views.box[:, :2] + views.box[:, 2:] <= torch.tensor([1, 500])).all()


def test_boxes_that_are_not_enlarged_fill_their_window() -> None:
    sizes = repeated(100, 30, 200)
    views = resized_crops(sizes, 64, (0.08, 1.0), (3 / 4, 4 / 3), seeded(), enlarge=False)
    assert torch.equal(views.scaled, views.box[:, 2:].clamp(max=64))
    assert torch.equal(views.window, views.scaled)


@pytest.mark.parametrize("padding", [0, 4])
def test_random_windows_are_uniform_over_all_places(padding: int) -> None:
    views = random_windows(repeated(36, 40), 32, None, padding, seeded())
    assert views.unscaled
    for axis, places in ((0, 5 + 2 * padding), (1, 9 + 2 * padding)):
        corners = views.corner[:, axis] + padding
        assert chisquare(torch.bincount(corners, minlength=places)).pvalue > 0.001
        assert len(torch.bincount(corners)) == places
    joint = (views.corner[:, 0] + padding) * (9 + 2 * padding) + views.corner[:, 1] + padding
    assert chisquare(torch.bincount(joint, minlength=(5 + 2 * padding) * (9 + 2 * padding))).pvalue > 0.001


@pytest.mark.parametrize("size", [(427, 640), (640, 427), (100, 333), (7, 1), (256, 256), (1000, 37)])
@pytest.mark.parametrize("resize", [32, 224, 256])
def test_resizing_the_shorter_side_gives_the_size_that_torchvision_gives(size: tuple[int, int], resize: int) -> None:
    reference = v2.Resize(resize)(torch.zeros(1, *size))
    for views in (
        random_windows(repeated(*size, 1), 32, resize, 0, seeded()),
        central_windows(repeated(*size, 1), 32, resize),
    ):
        assert views.scaled.tolist() == [list(reference.shape[1:])]


def test_small_images_are_enlarged_until_they_and_their_padding_cover_the_view() -> None:
    views = random_windows(torch.tensor([[10, 20], [64, 64], [1, 1]]), 32, None, 4, seeded())
    assert views.scaled.tolist() == [[24, 48], [64, 64], [24, 24]]
    assert central_windows(torch.tensor([[10, 20]]), 32, None).scaled.tolist() == [[32, 64]]


def test_squashing_gives_up_the_aspect() -> None:
    views: Views = squashed(torch.tensor([[10, 20], [300, 7]]), 32)
    assert views.scaled.tolist() == [[32, 32], [32, 32]]
    assert views.box.tolist() == [[0, 0, 10, 20], [0, 0, 300, 7]]
