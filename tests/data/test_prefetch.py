"""Batches made ahead, and images kept on the device: the same batches. Without a GPU, the CPU plays the device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from snellen.data.augment.pipeline import Augmentation
from snellen.data.augment.spec import AugmentationSpec, MixSpec
from snellen.data.cache import Pixels, load_pixels
from snellen.data.feed import Batch, Feed
from snellen.data.normalization import Normalization
from snellen.data.prefetch import keep_on_gpu, on_own_stream, produced
from snellen.data.store import CacheBudget

CPU = torch.device("cpu")
IN_MEMORY, IN_PART = 64, 0  # MiB
COUNT = 30


@pytest.fixture(params=["equal sizes", "different sizes"])
def pixels(request: pytest.FixtureRequest, digits: Path) -> Callable[[int], Pixels]:
    """Images in a cache of some MiB."""
    files = sorted(digits.rglob("*.png"))[:COUNT]

    def read(path: Path) -> Tensor:
        image = torch.arange(3 * 24 * 24, dtype=torch.uint8).view(3, 24, 24) + files.index(path)
        return image if request.param == "equal sizes" else image[:, files.index(path) % 5 :]

    return lambda mib: load_pixels(files, read, CacheBudget(mib))[0]


def feed(pixels: Pixels, device: torch.device = CPU) -> Feed:
    spec = AugmentationSpec(size=16, crop="resized", scale=(0.3, 1.0), jitter=(0.4, 0.0, 0.0, 0.0))
    return Feed(
        pixels=pixels,
        views=pixels,
        targets=torch.arange(COUNT) % 3,
        classes=3,
        augmentation=Augmentation(spec, Normalization((0.5,) * 3, (0.2,) * 3, ""), device),
        mix=MixSpec(mixup=0.2),
        batch_size=8,
        drop_last=False,
        seed=0,
        device=device,
        channels_last=False,
    )


def assert_same(batches: list[Batch], others: list[Batch]) -> None:
    assert len(batches) == len(others) > 0
    for batch, other in zip(batches, others, strict=True):
        torch.testing.assert_close(batch.images.cpu(), other.images.cpu(), rtol=0, atol=0)
        assert batch.target.tolist() == other.target.tolist()


def test_copies_on_the_device_give_the_same_batches(pixels: Callable[[int], Pixels]) -> None:
    plain, copied = pixels(IN_MEMORY), pixels(IN_MEMORY)
    keep_on_gpu((copied,), 4 * copied.nbytes, CPU)
    assert copied.is_copied
    assert not plain.is_copied
    assert_same(list(feed(copied).train(1)), list(feed(plain).train(1)))
    rows = torch.tensor([3, 0, 29])
    assert copied.gather(rows).pixels.equal(plain.gather(rows).pixels)


def test_images_that_do_not_fit_are_not_copied(pixels: Callable[[int], Pixels]) -> None:
    whole, part = pixels(IN_MEMORY), pixels(IN_PART)
    keep_on_gpu((whole, part), 4 * whole.nbytes - 1, CPU)
    assert not whole.is_copied
    keep_on_gpu((whole, part), 4 * whole.nbytes, CPU)
    assert whole.is_copied
    assert not part.is_copied  # only a part of them is in memory


@pytest.mark.parametrize("mib", [IN_MEMORY, IN_PART])
def test_an_own_stream_gives_the_same_batches_in_order(pixels: Callable[[int], Pixels], mib: int) -> None:
    def make(step: int) -> Batch:
        return one._train_batch(torch.arange(COUNT)[step * 8 : step * 8 + 8], 1, step)

    one = feed(pixels(mib))
    steps = range(one.steps)
    assert_same(list(on_own_stream(make, steps, CPU)), list(map(make, steps)))
    assert_same(list(produced(make, steps, CPU, one.pixels)), list(map(make, steps)))


def test_an_error_in_a_batch_is_raised_where_it_is_needed() -> None:
    def make(step: int) -> Batch:
        if step == 2:
            raise OSError("gone")
        return Batch(torch.full((1,), step), torch.zeros(1))

    batches = on_own_stream(make, range(4), CPU)
    assert [int(next(batches).images) for _ in range(2)] == [0, 1]
    with pytest.raises(OSError, match="gone"):
        next(batches)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("mib", [IN_MEMORY, IN_PART])
def test_batches_of_a_gpu_agree_with_those_of_the_cpu(pixels: Callable[[int], Pixels], mib: int) -> None:
    gpu = feed(pixels(mib), torch.device("cuda"))
    for batch, other in zip(gpu.train(1), feed(pixels(mib)).train(1), strict=True):
        torch.testing.assert_close(batch.images.cpu(), other.images, rtol=1e-4, atol=1e-3)
    assert gpu.pixels.is_copied == (mib == IN_MEMORY)
