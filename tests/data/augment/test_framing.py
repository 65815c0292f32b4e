from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator, Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as tv

from snellen.data.augment.framing import Mirrored, frame, framed_list, resized_by_matrices
from snellen.data.augment.geometry import Views, central_windows, random_windows, resized_crops
from snellen.data.augment.spec import Interpolation
from snellen.data.batch import ImageList, RawBatch
from snellen.data.cache import pad


def batch_of(images: list[Tensor], margin: int = 0) -> RawBatch:
    """Images of any sizes as one batch; `beyond` is what the block holds where no image is."""
    sizes = torch.tensor([image.shape[1:] for image in images])
    height, width = sizes.max(0).values.tolist()
    pixels = torch.full((len(images), 3, height, width), margin, dtype=torch.uint8)
    for slot, image in zip(pixels, images, strict=True):
        slot[:, : image.shape[1], : image.shape[2]] = image
    return RawBatch(pixels, sizes, uniform=bool((sizes == sizes[0]).all()))


def parts(image: Tensor, sizes: list[tuple[int, int]]) -> list[Tensor]:
    return [image[:, 20 : 20 + height, 30 : 30 + width] for height, width in sizes]


def random_flips(count: int) -> Mirrored:
    generator = Generator().manual_seed(3)
    return Mirrored(torch.rand(count, generator=generator) < 0.5, torch.rand(count, generator=generator) < 0.5)


def flipped(image: Tensor, mirrored: Mirrored, row: int) -> Tensor:
    image = image.flip(-1) if mirrored.sideways[row] else image
    return image.flip(-2) if mirrored.upside_down[row] else image


@pytest.mark.parametrize("size", [32, 80])  # one gather, and a loop of copies
@pytest.mark.parametrize("mode", ["constant", "reflect"])
def test_padded_crops_are_exactly_those_of_torchvision(photograph: Tensor, size: int, mode: str) -> None:
    images = parts(photograph, [(size, size), (size + 9, size), (size - 5, size + 40), (size + 3, size + 3)] * 8)
    raw = batch_of(images, margin=99)
    mirrored = random_flips(len(images))
    views = random_windows(raw.sizes, size, None, 6, Generator().manual_seed(0))
    assert views.unscaled
    result = frame(raw, views, size, mirrored, mode == "reflect", "bilinear")
    assert result.dtype == torch.uint8
    for row, image in enumerate(images):
        top, left = (views.corner[row] + 6).tolist()
        expected = tv.crop(tv.pad(image, [6, 6, 6, 6], padding_mode=mode), top, left, size, size)
        assert torch.equal(result[row], flipped(expected, mirrored, row))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_resized_crops_are_exactly_those_of_torchvision(photograph: Tensor, interpolation: Interpolation) -> None:
    images = parts(photograph, [(300, 200), (31, 40), (400, 600), (128, 128), (64, 64)] * 4)
    raw = batch_of(images, margin=99)
    mirrored = random_flips(len(images))
    views = resized_crops(raw.sizes, 64, (0.08, 1.0), (3 / 4, 4 / 3), Generator().manual_seed(0))
    result = frame(raw, views, 64, mirrored, False, interpolation)
    for row, image in enumerate(images):
        expected = tv.resized_crop(
            image, *views.box[row].tolist(), [64, 64], InterpolationMode(interpolation), antialias=True
        )
        assert torch.equal(result[row], flipped(expected, mirrored, row))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_matrices_agree_with_the_loop_to_a_grey_level(photograph: Tensor, interpolation: Interpolation) -> None:
    images = parts(photograph, [(300, 200), (31, 40), (1, 1), (128, 128), (64, 64), (2, 90)] * 3)
    raw = batch_of(images, margin=99)
    mirrored = random_flips(len(images))
    generator = Generator().manual_seed(0)
    choices: list[tuple[Views, bool]] = [
        (resized_crops(raw.sizes, 64, (0.08, 1.0), (3 / 4, 4 / 3), generator), False),
        (random_windows(raw.sizes, 64, 60, 8, generator), False),
        (random_windows(raw.sizes, 64, 60, 8, generator), True),
        (central_windows(raw.sizes, 64, 70), False),
    ]
    for views, reflect in choices:
        looped = frame(raw, views, 64, mirrored, reflect, interpolation)
        product = resized_by_matrices(raw, views, 64, mirrored, reflect, interpolation)
        assert product.dtype == torch.float32
        difference = (looped.float() - product).abs()
        assert difference.max() <= 2
        assert (difference > 1).float().mean() < 1e-4  # both round to whole grey levels twice
        assert (difference > 0).float().mean() < 0.02


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    size=st.integers(2, 90),
    margin=st.integers(0, 40),
    interpolation=st.sampled_from(["bilinear", "bicubic"]),
)
def test_scoring_views_are_exactly_resize_and_centre_crop(
    height: int, width: int, size: int, margin: int, interpolation: Interpolation
) -> None:
    pixels = torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8, generator=Generator().manual_seed(0))
    sizes = torch.tensor([[height, width]]).expand(2, 2)
    views = central_windows(sizes, size, size + margin)
    result = frame(RawBatch(pixels, sizes, True), views, size, None, False, interpolation)
    chain = v2.Compose(
        [v2.Resize(size + margin, InterpolationMode(interpolation), antialias=True), v2.CenterCrop(size)]
    )
    assert torch.equal(result, chain(pixels))


def test_reduction_does_not_alias() -> None:
    """Stripes of one pixel, reduced by 8, become grey; a bilinear sample alone would keep them black and white."""
    stripes = (torch.arange(256) % 2 * 255).to(torch.uint8).expand(1, 3, 256, 256).contiguous()
    raw = RawBatch(stripes, torch.tensor([[256, 256]]), True)
    views = central_windows(raw.sizes, 32, 32)
    for result in (
        frame(raw, views, 32, None, False, "bilinear"),
        resized_by_matrices(raw, views, 32, None, False, "bilinear"),
    ):
        assert (result[..., 2:-2].float() - 127.5).abs().max() < 2


@pytest.mark.parametrize("sides", [[(50, 60), (64, 55)], [(40, 900), (900, 40), (60, 60)]])
@pytest.mark.parametrize("crop", ["center", "resized"])
def test_images_of_different_sizes_are_framed_without_padding_to_a_common_one(
    photograph: Tensor, sides: list[tuple[int, int]], crop: str
) -> None:
    """In a list on the CPU, and as on other devices: the same as padded, and no panorama pads its neighbours."""
    large = torch.cat([torch.cat([photograph] * 3, 1)] * 2, 2)
    images = [large[:, :height, :width].contiguous() for height, width in sides]
    padded, listed = pad(images), ImageList(images)
    if crop == "center":
        views = central_windows(listed.sizes, 48, None)
    else:
        views = resized_crops(listed.sizes, 48, (0.2, 1.0), (0.75, 4 / 3), Generator().manual_seed(1))
    mirrored = Mirrored(torch.arange(len(images)) % 2 == 0, torch.zeros(len(images), dtype=torch.bool))
    expected = resized_by_matrices(padded, views, 48, mirrored, False, "bilinear")
    assert torch.equal(framed_list(listed, views, 48, mirrored, False, "bilinear").float(), expected)
    result = frame(listed, views, 48, mirrored, False, "bilinear")
    assert (result.float() - expected).abs().max() <= 1
