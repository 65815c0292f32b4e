"""Figures of masks: by hand, against torchmetrics; their intervals against a loop over images and scipy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_f1_score,
    multiclass_jaccard_index,
)

from snellen.insight.jackknife import degrees_of_freedom
from snellen.insight.mask_words import over_classes, why_no_interval
from snellen.insight.proportions import Interval, wilson
from snellen.insight.segmentation import (
    Counts,
    by_image,
    counts_of,
    mask_figures,
    miou,
    miou_by_unit,
    paired_masks,
)
from snellen.tasks.segmentation.task import confusion_counts

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
    zero, first, second = figures.classes
    assert (zero.share, zero.recall, zero.precision) == (pytest.approx(2 / 5), 0.5, 0.5)
    assert (first.iou, first.recall) == (0.5, pytest.approx(2 / 3))
    assert np.isnan(second.iou)
    assert second.iou_interval is None
    assert second.share == 0


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
    figures = mask_figures(counts_of(confusion))
    arguments = (prediction.flatten(), target.flatten(), classes)
    expected = multiclass_jaccard_index(*arguments, average="macro", ignore_index=255)
    assert miou(confusion) == figures.miou == pytest.approx(expected.item(), abs=1e-6)
    by_class = multiclass_jaccard_index(*arguments, average="none", ignore_index=255)
    np.testing.assert_allclose(np.nan_to_num([entry.iou for entry in figures.classes]), by_class, atol=1e-6)
    accuracy = multiclass_accuracy(*arguments, average="micro", ignore_index=255)
    assert figures.pixel_accuracy == pytest.approx(accuracy.item(), abs=1e-6)
    dice = multiclass_f1_score(*arguments, average="macro", ignore_index=255)
    assert figures.dice == pytest.approx(dice.item(), abs=1e-6)


def test_images_without_a_scored_pixel() -> None:
    confusion = np.zeros((2, 3, 3), np.int64)
    confusion[0] = [[3, 1, 0], [0, 4, 0], [0, 0, 0]]
    image_miou, accuracy = by_image(confusion)
    assert image_miou[0] == pytest.approx((3 / 4 + 4 / 5) / 2)
    assert accuracy[0] == 7 / 8
    assert np.isnan(image_miou[1])
    assert np.isnan(accuracy[1])
    assert miou(confusion) == image_miou[0]
    assert np.isnan(miou(confusion[1:]))
    figures = mask_figures(counts_of(confusion), np.repeat(NO_EDGES, 2, 0))
    assert figures.miou == image_miou[0]
    assert np.isnan(figures.boundary_f)


def draw_confusion(generator: np.random.Generator, images: int, quality: float, classes: int = 3) -> NDArray[np.int64]:
    """Confusion matrices of images that differ in how hard they are and in what they show."""
    shares = generator.dirichlet(np.ones(classes), images)
    right = np.clip(quality + 0.15 * generator.standard_normal(images), 0.02, 0.98)
    cells = np.empty((images, classes, classes), np.int64)
    for image in range(images):
        spread = np.full((classes, classes), (1 - right[image]) / (classes - 1))
        np.fill_diagonal(spread, right[image])
        cells[image] = generator.multinomial(400, (shares[image][:, None] * spread).ravel()).reshape(classes, classes)
    return cells


def brute_force(
    figure: Callable[[Counts], float], counts: Counts, sizes: NDArray[np.float64], share: bool = True
) -> tuple[float, float, float, float]:
    """The figure, its interval and p-value by the jackknife as Tukey writes it: one image after the other left out.

    sizes: (N,), from which the degrees of freedom come by the matrices themselves. share: on the scale of the logit.
    """
    total, units = figure(counts), len(counts)
    pseudo = [units * total - (units - 1) * figure(np.delete(counts, row, axis=0)) for row in range(units)]
    error = np.std(pseudo, ddof=1) / np.sqrt(units)
    degrees = satterthwaite(sizes / sizes.sum())
    quantile = stats.t.ppf(0.975, degrees)
    low, high = total - quantile * error, total + quantile * error
    if share:
        scale = quantile * error / (total * (1 - total))
        low, high = (1 / (1 / np.exp(np.log(total / (1 - total)) + side * scale) + 1) for side in (-1, 1))
    return total, low, high, 2 * stats.t.sf(abs(total) / error, degrees)


def satterthwaite(part: NDArray[np.float64]) -> float:
    """Pseudo-values are M e to first order, with e of variances in proportion to the images' parts."""
    units = len(part)
    projection = np.diag(1 / (1 - part)) @ (np.eye(units) - np.outer(part, np.ones(units)))
    centred = (np.eye(units) - 1 / units) @ projection
    covariance = centred @ np.diag(part) @ centred.T
    return float(np.trace(covariance) ** 2 / np.trace(covariance @ covariance))


def parts(pixels: Counts) -> NDArray[np.float64]:
    """(N,) mean over the classes of the images' parts of the pixels, (N, C, …)."""
    class_pixels = pixels.sum(-1)
    return np.asarray((class_pixels / class_pixels.sum(0)).mean(1))


def mean_iou(counts: Counts) -> float:
    total = counts.sum(0)
    return float(np.mean([hits / (hits + alarms + missed) for hits, alarms, missed in total]))


def mean_dice(counts: Counts) -> float:
    total = counts.sum(0)
    return float(np.mean([2 * hits / (2 * hits + alarms + missed) for hits, alarms, missed in total]))


def mean_boundary_f(edges: Counts) -> float:
    total = edges.sum(0)
    ratios = [(matched / predicted, hit / true) for predicted, matched, true, hit in total]
    return float(np.mean([2 * precision * recall / (precision + recall) for precision, recall in ratios]))


def bounds(interval: Interval | None) -> list[float]:
    assert interval is not None
    return [interval.low, interval.high]


def test_intervals_are_those_of_a_loop_over_the_images() -> None:
    generator = np.random.default_rng(4)
    counts = counts_of(draw_confusion(generator, 14, 0.7))
    edges = generator.integers(5, 20, (14, 3, 4)) * [2, 1, 3, 1]
    figures = mask_figures(counts, edges)
    by_class = [
        (entry.iou, entry.iou_interval, brute_force(mean_iou, counts[:, [number]], parts(counts[:, [number]])))
        for number, entry in enumerate(figures.classes)
    ]
    for value, interval, (expected, low, high, _) in (
        (figures.miou, figures.miou_interval, brute_force(mean_iou, counts, parts(counts))),
        (figures.dice, figures.dice_interval, brute_force(mean_dice, counts, parts(counts))),
        (
            figures.boundary_f,
            figures.boundary_f_interval,
            brute_force(mean_boundary_f, edges, parts(edges[..., [0, 2]])),
        ),
        (
            figures.pixel_accuracy,
            figures.pixel_accuracy_interval,
            brute_force(
                lambda subset: subset[..., 0].sum() / subset[..., [0, 2]].sum(), counts, counts[..., [0, 2]].sum((1, 2))
            ),
        ),
        *by_class,
    ):
        assert value == pytest.approx(expected)
        assert bounds(interval) == pytest.approx([low, high])


def test_a_difference_is_that_of_a_loop_over_the_images() -> None:
    generator = np.random.default_rng(5)
    a, b = (counts_of(draw_confusion(generator, 12, quality)) for quality in (0.75, 0.7))
    joined = np.concatenate([a, b], axis=1)
    difference, low, high, p_value = brute_force(
        lambda subset: mean_iou(subset[:, :3]) - mean_iou(subset[:, 3:]), joined, parts(joined), share=False
    )
    test = paired_masks(a, b)
    assert test.difference == pytest.approx(difference)
    assert bounds(test.interval) == pytest.approx([low, high])
    assert test.p_value == pytest.approx(p_value)
    assert paired_masks(b, a).p_value == pytest.approx(test.p_value)


def test_images_of_equal_size_are_a_mean() -> None:
    """One class that fills every image, and no false alarms: IoU is a mean over images, its interval that of a mean."""
    right_hits, other_hits = (np.random.default_rng(seed).integers(40, 100, 15) for seed in (6, 7))
    of_right, of_other = (np.stack([hits, 0 * hits, 100 - hits], -1)[:, None] for hits in (right_hits, other_hits))
    np.testing.assert_allclose(miou_by_unit(of_right), right_hits / 100)
    actual, ttest = paired_masks(of_right, of_other), stats.ttest_rel(right_hits / 100, other_hits / 100)
    assert actual.p_value == pytest.approx(ttest.pvalue)
    assert bounds(actual.interval) == pytest.approx(list(ttest.confidence_interval(0.95)))
    mean = right_hits.mean() / 100
    scale = stats.t.ppf(0.975, 14) * stats.sem(right_hits / 100) / (mean * (1 - mean))
    expected = [1 / (1 + np.exp(-np.log(mean / (1 - mean)) - side * scale)) for side in (-1, 1)]
    figures = mask_figures(of_right)
    for interval in (figures.miou_interval, figures.classes[0].iou_interval, figures.pixel_accuracy_interval):
        assert bounds(interval) == pytest.approx(expected)


def test_degrees_of_freedom() -> None:
    assert degrees_of_freedom(np.full(7, 3.0)) == pytest.approx(6)
    sizes = np.array([4.0, 22, 40, 0, 9])
    assert degrees_of_freedom(sizes) == pytest.approx(satterthwaite(sizes / sizes.sum()))
    assert degrees_of_freedom(np.array([1.0, 1, 1000])) == pytest.approx(1, abs=0.05), "two small ones tell little"


def test_false_alarms_of_the_paired_test() -> None:
    alarms = 0
    for seed in range(200):
        generator = np.random.default_rng(seed)
        test = paired_masks(*(counts_of(draw_confusion(generator, 20, 0.7)) for _ in range(2)))
        assert test.p_value is not None
        alarms += test.p_value < 0.05
    assert alarms / 200 <= 0.10
    generator = np.random.default_rng(0)
    better, worse = draw_confusion(generator, 60, 0.8), draw_confusion(generator, 60, 0.6)
    test = paired_masks(counts_of(better), counts_of(worse))
    assert test.p_value is not None
    assert test.p_value < 1e-6, "no floor, as resampling has"
    assert bounds(test.interval)[0] > 0
    assert test.difference == pytest.approx(miou(better) - miou(worse))
    assert test.better_a > test.better_b
    assert test.total == 60


def test_groups_widen_the_interval() -> None:
    few = draw_confusion(np.random.default_rng(2), 8, 0.7)
    copied = np.repeat(few, 10, axis=0)  # ten copies of each image know no more than one
    groups = np.random.default_rng(3).permutation(np.repeat(np.arange(8), 10))
    copies = few[groups]
    ungrouped = bounds(mask_figures(counts_of(copied)).miou_interval)
    grouped = mask_figures(counts_of(copies), groups=groups)
    assert grouped.miou_interval is not None
    assert grouped.miou_interval.high - grouped.miou_interval.low > 2 * (ungrouped[1] - ungrouped[0])
    assert bounds(grouped.miou_interval) == pytest.approx(
        brute_force(mean_iou, counts_of(few), parts(counts_of(few)))[1:3]
    )


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
    over_two_classes = miou_by_unit(counts_of(confusion), classes=[0, 2])
    assert over_two_classes.mean() == pytest.approx(
        np.mean([mean_iou(counts_of(confusion)[:, [number]]) for number in (0, 2)])
    )


def rare(generator: np.random.Generator, images: int, present: int) -> Counts:
    """Counts of images with three classes and a fourth in the first few of them."""
    confusion = np.zeros((images, 4, 4), np.int64)
    confusion[:, :3, :3] = draw_confusion(generator, images, 0.7)
    confusion[:present, 3, 3] = generator.integers(20, 80, present)
    confusion[:present, 3, 0] = 30
    return counts_of(confusion)


def test_a_class_in_nine_images_has_no_interval() -> None:
    generator = np.random.default_rng(8)
    in_nine, in_ten = rare(generator, 30, 9), rare(generator, 30, 10)
    edges = generator.integers(5, 20, (30, 4, 4)) * [2, 1, 3, 1]
    figures = mask_figures(in_nine, edges)
    assert figures.miou == pytest.approx(mean_iou(in_nine))
    assert (figures.miou_interval, figures.dice_interval, figures.boundary_f_interval) == (None, None, None)
    assert figures.classes[3].iou_interval is None
    assert (figures.classes[3].images, figures.classes[3].enough) == (9, False)
    assert figures.pixel_accuracy_interval is not None
    assert figures.common is not None
    assert figures.common.classes == (0, 1, 2)
    assert figures.common.miou == pytest.approx(mean_iou(in_nine[:, :3]))
    assert bounds(figures.common.miou_interval) == pytest.approx(
        brute_force(mean_iou, in_nine[:, :3], parts(in_nine[:, :3]))[1:3]
    )
    assert why_no_interval(figures, list("abcd")) == "d is in too few images (fewer than 10)"
    assert mask_figures(in_ten, edges).common is None
    assert mask_figures(in_ten, edges).miou_interval is not None
    common = (
        (figures.common.dice_interval, brute_force(mean_dice, in_nine[:, :3], parts(in_nine[:, :3]))),
        (figures.common.boundary_f_interval, brute_force(mean_boundary_f, edges[:, :3], parts(edges[:, :3, ::2]))),
    )
    for interval, expected in common:
        assert bounds(interval) == pytest.approx(expected[1:3])
    other_counts = rare(generator, 30, 9)
    other_counts[:9, 3] = in_nine[:9, 3, [0, 2, 1]]  # the truth is one
    test = paired_masks(in_nine, other_counts)
    assert test.classes == (0, 1, 2)
    assert test.difference == pytest.approx(mean_iou(in_nine[:, :3]) - mean_iou(other_counts[:, :3]))
    assert test.p_value == pytest.approx(paired_masks(in_nine[:, :3], other_counts[:, :3]).p_value)


def test_a_class_that_is_predicted_but_absent() -> None:
    """It counts in the mean over all, as ever, and is no reason for the others to have no interval."""
    counts = counts_of(draw_confusion(np.random.default_rng(9), 20, 0.7, 3))
    counts = np.concatenate([counts, np.zeros((20, 1, 3), np.int64)], axis=1)
    assert mask_figures(counts).common is None
    counts[0, 3, 1] = 1
    figures = mask_figures(counts)
    assert figures.miou == pytest.approx(0.75 * mean_iou(counts[:, :3]))
    assert figures.miou_interval is None
    assert figures.common is not None
    assert figures.common.classes == (0, 1, 2)


@pytest.mark.parametrize(
    ("images", "groups", "why"),
    [
        (5, None, "only 5 images"),
        (1, None, "only 1 image"),
        (40, np.arange(40) % 2, "only 2 groups"),
        (40, np.zeros(40, np.int64), "only 1 group"),
    ],
)
def test_too_few_for_any_interval(images: int, groups: NDArray[np.int64] | None, why: str) -> None:
    generator = np.random.default_rng(10)
    a, b = (counts_of(draw_confusion(generator, images, 0.7)) for _ in range(2))
    figures = mask_figures(a, np.full((images, 3, 4), 2), groups)
    assert figures.why_no_interval == why
    assert figures.miou_interval is figures.pixel_accuracy_interval is figures.common is None
    assert all(entry.iou_interval is None for entry in figures.classes)
    test = paired_masks(a, b, groups)
    assert (test.interval, test.p_value, test.why_no_test) == (None, None, why)
    assert test.difference == pytest.approx(mean_iou(a) - mean_iou(b))


def test_no_class_in_ten_images() -> None:
    counts = np.zeros((12, 2, 3), np.int64)
    counts[:6, 0], counts[6:, 1] = (5, 1, 1), (7, 2, 1)
    figures = mask_figures(counts)
    assert figures.why_no_interval == "no class is in 10 images"
    assert figures.pixel_accuracy_interval is not None
    assert paired_masks(counts, counts + 1 - 1).why_no_test == "no class is in 10 images"


def test_a_class_must_be_in_every_one_of_few_groups() -> None:
    generator = np.random.default_rng(11)
    groups = np.repeat(np.arange(4), 10)
    counts = rare(generator, 40, 20)  # its 20 images are two groups
    figures = mask_figures(counts, groups=groups)
    assert figures.common is not None
    assert figures.common.classes == (0, 1, 2)
    assert mask_figures(counts, groups=np.arange(40) % 4).common is None


def test_no_interval_without_width() -> None:
    all_right = np.zeros((12, 2, 3), np.int64)
    all_right[..., 0] = 50
    figures = mask_figures(all_right)
    for interval in (figures.miou_interval, figures.classes[1].iou_interval, figures.pixel_accuracy_interval):
        assert interval == wilson(12, 12)
    test = paired_masks(all_right, all_right)
    assert (test.interval, test.p_value) == (None, None)
    assert test.why_no_test == "both get the same pixels right and wrong"
    equal_images = np.tile([[30, 5, 7]], (12, 2, 1))
    assert mask_figures(equal_images).miou_interval is None
    assert mask_figures(equal_images).why_no_interval == "all images are alike"


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        ((0, 2), "a and c"),
        (tuple(range(11)), "11 classes, all but l"),
        (tuple(range(9)), "9 classes, all but j, k and l"),
    ],
)
def test_classes_in_words(classes: tuple[int, ...], expected: str) -> None:
    assert over_classes(classes, list("abcdefghijkl")) == expected
