"""Figures of masks: by hand, against torchmetrics, and their intervals against simulation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_f1_score,
    multiclass_jaccard_index,
)

from snellen.insight.segmentation import (
    by_image,
    counts_of,
    mask_figures,
    miou,
    miou_by_unit,
    paired_masks,
)
from snellen.tasks.segmentation import confusion_counts

NO_EDGES = np.zeros((1, 3, 4), np.int64)


def test_by_hand() -> None:
    """A 2 x 3 mask: classes 0 0 1 / 1 1 ignored, predicted 0 1 1 / 1 0 0. Class 2 is nowhere."""
    target = torch.tensor([[[0, 0, 1], [1, 1, 255]]])
    prediction = torch.tensor([[[0, 1, 1], [1, 0, 0]]])
    confusion = confusion_counts(prediction, target, 3).numpy()
    assert confusion.tolist() == [[[1, 1, 0], [1, 2, 0], [0, 0, 0]]]
    assert counts_of(confusion)[0].tolist() == [[1, 1, 1], [2, 1, 1], [0, 0, 0]]
    assert miou(confusion) == pytest.approx((1 / 3 + 2 / 4) / 2)
    edges = np.array([[[4, 2, 3, 3], [2, 0, 0, 0], [0, 0, 0, 0]]])  # P 1/2 R 1: F 2/3; predicted alone: 0; absent
    figures = mask_figures(counts_of(confusion), edges)
    assert figures.miou == pytest.approx(5 / 12)
    assert figures.pixel_accuracy == pytest.approx(3 / 5)
    assert figures.dice == pytest.approx((2 / 4 + 4 / 6) / 2)
    assert figures.boundary_f == pytest.approx((2 / 3 + 0) / 2)
    zero, one, two = figures.classes
    assert (zero.share, zero.recall, zero.precision) == (pytest.approx(2 / 5), 0.5, 0.5)
    assert (one.iou, one.recall) == (0.5, pytest.approx(2 / 3))
    assert np.isnan(two.iou)
    assert two.iou_interval is None
    assert two.share == 0


@pytest.mark.parametrize("seed", range(4))
def test_against_torchmetrics(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    classes, images = 6, 5
    target = torch.randint(0, classes - 1 - seed % 2, (images, 9, 11), generator=generator)  # the last ones are absent
    prediction = torch.where(
        torch.rand(target.shape, generator=generator) < 0.6,
        target,
        torch.randint(0, classes - 1, target.shape, generator=generator),
    )
    target[torch.rand(target.shape, generator=generator) < 0.15] = 255
    confusion = confusion_counts(prediction, target, classes).numpy()
    figures = mask_figures(counts_of(confusion), np.zeros((images, classes, 4), np.int64))
    kept = (prediction.flatten(), target.flatten(), classes)
    theirs = multiclass_jaccard_index(*kept, average="macro", ignore_index=255)
    assert miou(confusion) == figures.miou == pytest.approx(theirs.item(), abs=1e-6)
    by_class = multiclass_jaccard_index(*kept, average="none", ignore_index=255)
    np.testing.assert_allclose(np.nan_to_num([each.iou for each in figures.classes]), by_class, atol=1e-6)
    accuracy = multiclass_accuracy(*kept, average="micro", ignore_index=255)
    assert figures.pixel_accuracy == pytest.approx(accuracy.item(), abs=1e-6)
    dice = multiclass_f1_score(*kept, average="macro", ignore_index=255)
    assert figures.dice == pytest.approx(dice.item(), abs=1e-6)


def test_images_without_a_scored_pixel() -> None:
    confusion = np.zeros((2, 3, 3), np.int64)
    confusion[0] = [[3, 1, 0], [0, 4, 0], [0, 0, 0]]
    own, accuracy = by_image(confusion)
    assert own[0] == pytest.approx((3 / 4 + 4 / 5) / 2)
    assert accuracy[0] == 7 / 8
    assert np.isnan(own[1])
    assert np.isnan(accuracy[1])
    assert miou(confusion) == own[0]
    assert np.isnan(miou(confusion[1:]))
    figures = mask_figures(counts_of(confusion), np.repeat(NO_EDGES, 2, 0))
    assert figures.miou == own[0]
    assert np.isnan(figures.boundary_f)


def drawn(generator: np.random.Generator, images: int, quality: float, classes: int = 3) -> NDArray[np.int64]:
    """Confusion matrices of images that differ in how hard they are and in what they show."""
    shares = generator.dirichlet(np.ones(classes), images)
    right = np.clip(quality + 0.15 * generator.standard_normal(images), 0.02, 0.98)
    cells = np.empty((images, classes, classes), np.int64)
    for image in range(images):
        spread = np.full((classes, classes), (1 - right[image]) / (classes - 1))
        np.fill_diagonal(spread, right[image])
        cells[image] = generator.multinomial(400, (shares[image][:, None] * spread).ravel()).reshape(classes, classes)
    return cells


@pytest.mark.slow
def test_intervals_cover_what_they_should() -> None:
    """Of runs on 60 images each, about 95% of the intervals hold the mIoU of very many images."""
    truth = miou(drawn(np.random.default_rng(1), 40_000, 0.7))
    inside = 0
    for seed in range(200):
        confusion = drawn(np.random.default_rng(100 + seed), 60, 0.7)
        found = mask_figures(counts_of(confusion), np.zeros((60, 3, 4), np.int64), seed=seed).miou_interval
        inside += found.low <= truth <= found.high
    assert 0.89 <= inside / 200 <= 0.985


def test_false_alarms_of_the_paired_test() -> None:
    alarms = 0
    for seed in range(200):
        generator = np.random.default_rng(seed)
        alarms += paired_masks(*(counts_of(drawn(generator, 40, 0.7)) for _ in range(2)), seed=seed).p_value < 0.05
    assert alarms / 200 <= 0.10
    generator = np.random.default_rng(0)
    better, worse = drawn(generator, 60, 0.8), drawn(generator, 60, 0.6)
    test = paired_masks(counts_of(better), counts_of(worse))
    assert test.p_value < 0.01
    assert test.interval.low > 0
    assert test.difference == pytest.approx(miou(better) - miou(worse))
    assert test.better_a > test.better_b
    assert test.total == 60


def test_groups_widen_the_interval() -> None:
    few = drawn(np.random.default_rng(2), 8, 0.7)
    many = np.repeat(few, 10, axis=0)  # ten copies of each image know no more than one
    edges = np.zeros((80, 3, 4), np.int64)
    alone = mask_figures(counts_of(many), edges).miou_interval
    grouped = mask_figures(counts_of(many), edges, np.repeat(np.arange(8), 10)).miou_interval
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)


def test_values_by_image_stand_for_the_miou() -> None:
    """Their mean is the mIoU, their standard error that of a bootstrap over images; so too for groups."""
    generator = np.random.default_rng(3)
    difficulty = generator.beta(4, 2, (60, 1, 1))
    confusion = generator.poisson(200 * (0.15 * (1 - difficulty) + np.eye(4) * difficulty)).astype(np.int64)
    values = miou_by_unit(counts_of(confusion))
    assert values.mean() == pytest.approx(miou(confusion))
    draws = [miou(confusion[generator.integers(0, 60, 60)]) for _ in range(3000)]
    assert values.std(ddof=1) / np.sqrt(60) == pytest.approx(np.std(draws), rel=0.1)
    doubled = np.repeat(confusion, 2, axis=0)
    np.testing.assert_allclose(miou_by_unit(counts_of(doubled), np.repeat(np.arange(60), 2)), values)
