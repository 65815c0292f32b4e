"""From files to batches: what is normalised, padded, ignored, and that an epoch can be entered at any step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from torch import Generator, Tensor
from torch.nn import functional as F

from snellen.data.cache import channel_statistics
from snellen.data.masks.augment import MaskAugmentation
from snellen.data.masks.cache import DecodedSet, decode_set
from snellen.data.masks.classes import IGNORE
from snellen.data.masks.feed import MaskFeed
from snellen.data.masks.resize import Resize, resized_size
from snellen.data.masks.sources import read_masked
from snellen.data.masks.spec import MaskAugmentationSpec, MaskDataSpec, MaskEvaluationTransformSpec
from snellen.data.normalization import Normalization

CPU = torch.device("cpu")
NORMALIZATION = Normalization((0.4, 0.5, 0.6), (0.2, 0.25, 0.3), "")


def crop(photograph: Tensor, number: int, height: int, width: int) -> Tensor:
    top, left = 200 + 9 * number, 250 + 7 * number
    return photograph[:, top : top + height, left : left + width]


def write_pairs(folder: Path, photograph: Tensor, sizes: list[tuple[int, int]]) -> Path:
    """Crops of a photograph whose mask is 0 where red is below 128, else 1, and 255 in the top row."""
    for side in ("train", "val"):
        for number, (height, width) in enumerate(sizes):
            pixels = crop(photograph, number, height, width).numpy()
            mask = (pixels[0] >= 128).astype(np.uint8)
            mask[0] = IGNORE
            for kind, array in (("images", pixels.transpose(1, 2, 0)), ("masks", mask)):
                path = folder / side / kind / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.ascontiguousarray(array)).save(path)
    return folder


def decoded(folder: Path, train: Resize = None, validation: Resize = None, cache_mib: int = 100) -> DecodedSet:
    spec = MaskDataSpec(cache_mib=cache_mib)
    return decode_set(read_masked(folder, spec), spec, train, validation)


def feed(result: DecodedSet, side: str, spec: MaskAugmentationSpec, batch: int = 2, multiple: int = 32) -> MaskFeed:
    augmentation = MaskAugmentation(spec, MaskEvaluationTransformSpec(multiple=multiple), NORMALIZATION, CPU)
    return MaskFeed(getattr(result, side), augmentation, batch, False, 7, CPU, channels_last=False)


def test_without_augmentation_pixels_are_only_normalised(tmp_path: Path, photograph: Tensor) -> None:
    result = decoded(write_pairs(tmp_path, photograph, [(20, 30)] * 3))
    images = {}
    for batch in feed(result, "train", MaskAugmentationSpec(flip=0), batch=3).train(1):
        assert batch.images.shape == (3, 3, 20, 30)
        assert batch.target.dtype == torch.int64
        for image, target in zip(batch.images, batch.target, strict=True):
            red = image[0] * 0.2 + 0.4
            assert (target[0] == IGNORE).all()
            assert target[1:].equal((red[1:] * 255 > 127.5).long())
            images[round(float(image.sum()), 3)] = image
    assert len(images) == 3
    mean = torch.tensor(NORMALIZATION.mean)[:, None, None]
    std = torch.tensor(NORMALIZATION.std)[:, None, None]
    expected = (crop(photograph, 0, 20, 30).float() / 255 - mean) / std
    assert min((image - expected).abs().max() for image in images.values()) < 1e-5


def test_beyond_the_image_is_the_mean_and_not_scored(tmp_path: Path, photograph: Tensor) -> None:
    result = decoded(write_pairs(tmp_path, photograph, [(20, 30), (25, 16)]))
    spec = MaskAugmentationSpec(size=(40, 44), scale=(0.8, 1.2), rotation=15, jitter=(0.4, 0.4, 0.4, 0.1), blur=1)
    for epoch in range(1, 4):
        for batch in feed(result, "train", spec).train(epoch):
            assert batch.images.shape == (2, 3, 40, 44)
            empty = (batch.images == 0).all(1)
            assert (batch.target[empty] == IGNORE).all()
            assert empty.flatten(1).float().mean(1).min() > 0.3
            assert (batch.target != IGNORE).flatten(1).any(1).all()


@pytest.mark.parametrize("cache_mib", [0, 100])
def test_an_epoch_can_be_entered_at_any_step(tmp_path: Path, photograph: Tensor, cache_mib: int) -> None:
    result = decoded(write_pairs(tmp_path, photograph, [(20, 30)] * 7), train=24, cache_mib=cache_mib)
    spec = MaskAugmentationSpec(size=(16, 16), scale=(0.5, 2), rotation=5, jitter=(0.2, 0.2, 0.2, 0.1))
    batches = list(feed(result, "train", spec).train(3))
    assert len(batches) == 3  # of the last batch, of one image, batch-norm would have no variance
    later = list(feed(result, "train", spec).train(3, start=1))
    for first, second in zip(batches[1:], later, strict=True):
        assert first.images.equal(second.images)
        assert first.target.equal(second.target)
    assert not next(feed(result, "train", spec).train(4)).images.equal(batches[0].images)


def test_evaluation_shows_whole_images_and_scores_masks_as_stored(tmp_path: Path, photograph: Tensor) -> None:
    result = decoded(write_pairs(tmp_path, photograph, [(20, 30), (45, 24), (20, 30)]), validation=40)
    batches = list(feed(result, "validation", MaskAugmentationSpec(), batch=2).evaluate())
    assert [len(batch) for batch in batches] == [2, 1]
    assert batches[0].content_size.tolist() == [[40, 60], [75, 40]]
    assert batches[0].images.shape == (2, 3, 96, 64)
    assert batches[0].target.shape == (2, 45, 30)
    assert (batches[0].images[0, :, 40:] == 0).all()
    assert (batches[0].images[0, :, :, 60:] == 0).all()
    assert (batches[0].target[1, :, 24:] == IGNORE).all()
    # A network that copies its input gives, at the size of the mask, the mask again.
    red = batches[0].images[:, :1] * 0.2 + 0.4 - 0.5
    predictions = (batches[0].at_target(torch.cat([-red, red], 1)).argmax(1), batches[0].target)
    is_scored = predictions[1] != IGNORE
    assert (predictions[0] == predictions[1])[is_scored].float().mean() > 0.95


def test_logits_are_brought_to_each_masks_own_size(tmp_path: Path, photograph: Tensor) -> None:
    result = decoded(write_pairs(tmp_path, photograph, [(20, 30), (45, 24)]), validation=(16, 16))
    (batch,) = feed(result, "validation", MaskAugmentationSpec(), multiple=5).evaluate()
    logits = torch.randn(2, 4, *batch.images.shape[2:], generator=Generator().manual_seed(0))
    assert batch.images.shape[2:] == (20, 20)
    mask_logits = batch.at_target(logits)
    for row, size in enumerate([(20, 30), (45, 24)]):
        expected = F.interpolate(logits[row : row + 1, :, :16, :16], size=size, mode="bilinear")[0]
        assert (mask_logits[row, :, : size[0], : size[1]] - expected).abs().max() < 1e-6


def test_statistics_and_counts_are_over_images_not_over_padding(tmp_path: Path, photograph: Tensor) -> None:
    result = decoded(write_pairs(tmp_path, photograph, [(20, 30), (45, 24)]))
    crops = [crop(photograph, 0, 20, 30), crop(photograph, 1, 45, 24)]
    pixels = torch.cat([image.flatten(1) for image in crops], dim=1).double() / 255
    mean, std = channel_statistics(result.train.images)
    assert mean == pytest.approx(pixels.mean(1).tolist(), abs=1e-6)
    assert std == pytest.approx(pixels.std(1, correction=0).tolist(), abs=1e-6)
    for row, image in enumerate(crops):
        high = int((image[0, 1:] >= 128).sum())
        assert result.train.class_pixels[row].tolist() == [image[0, 1:].numel() - high, high, image.shape[2]]


def test_a_batch_is_split_for_accumulation(tmp_path: Path, photograph: Tensor) -> None:
    result = decoded(write_pairs(tmp_path, photograph, [(20, 30)] * 5))
    batch = next(feed(result, "train", MaskAugmentationSpec(), batch=5).train(1))
    parts = batch.split(2)
    assert [len(part) for part in parts] == [3, 2]
    assert torch.cat([part.target for part in parts]).equal(batch.target)


def test_one_number_is_a_square_crop_and_a_shorter_side() -> None:
    assert MaskAugmentationSpec(size=32).size == 32
    assert MaskAugmentationSpec(size=[32, 48], resize=64).size == (32, 48)
    assert resized_size((40, 60), 20) == (20, 30)
    assert resized_size((40, 60), (7, 9)) == (7, 9)
    for wrong in (0, [1, 2, 3], "x", [32, 1]):
        with pytest.raises(ValidationError, match="expected one number of pixels, two"):
            MaskAugmentationSpec(size=wrong)


def test_one_number_and_two_equal_numbers_give_the_same_crop(tmp_path: Path, photograph: Tensor) -> None:
    result = decoded(write_pairs(tmp_path, photograph, [(40, 50)] * 2))
    by_number, by_pair = (
        next(feed(result, "train", MaskAugmentationSpec(size=size)).train(1)) for size in (24, (24, 24))
    )
    assert by_number.images.shape == (2, 3, 24, 24)
    assert by_number.images.equal(by_pair.images)
