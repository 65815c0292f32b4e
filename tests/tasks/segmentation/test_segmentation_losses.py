"""Losses of segmenters against their formulas in float64, pixel by pixel."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
import torch
from segmentation_models_pytorch.losses import LovaszLoss
from torch import Tensor

from snellen.errors import UserError
from snellen.tasks.segmentation.losses import class_weights, compute_segmentation_loss, dice, lovasz, total_weight
from snellen.tasks.segmentation.recipe import SegmentationLossSpec

CLASSES = 4


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    """Two images of 5 x 6 px; class 3 occurs nowhere, a fifth of the pixels is ignored."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2, CLASSES, 5, 6, generator=generator, dtype=torch.float64)
    target = torch.randint(0, 3, (2, 5, 6), generator=generator)
    target[torch.rand(2, 5, 6, generator=generator) < 0.2] = 255
    return logits, target


def scored_pixels(logits: Tensor, target: Tensor) -> Iterator[tuple[list[float], int]]:
    """(probabilities, class) of each scored pixel, by plain arithmetic."""
    images, _, height, width = logits.shape
    for image in range(images):
        for row in range(height):
            for column in range(width):
                label = int(target[image, row, column])
                if label != 255:
                    powers = [math.exp(value) for value in logits[image, :, row, column].tolist()]
                    yield [power / sum(powers) for power in powers], label


def spec(**fields: object) -> SegmentationLossSpec:
    return SegmentationLossSpec.model_validate(fields)


@pytest.mark.parametrize("epsilon", [-1.0, 1.0, 2.0])
def test_poly1_is_the_papers_formula_of_each_pixel(batch: tuple[Tensor, Tensor], epsilon: float) -> None:
    by_pixel = [-math.log(p[label]) + epsilon * (1 - p[label]) for p, label in scored_pixels(*batch)]
    loss = compute_segmentation_loss(spec(terms={"poly1": 1}, epsilon=epsilon), *batch)
    assert loss.item() == pytest.approx(np.mean(by_pixel), rel=1e-12)
    of_the_mean = np.mean([-math.log(p[label]) for p, label in scored_pixels(*batch)])
    wrong = of_the_mean + epsilon * (1 - math.exp(-of_the_mean))
    assert abs(loss.item() - wrong) > 0.01, "not the batch's mean put through the formula"


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal(batch: tuple[Tensor, Tensor], gamma: float) -> None:
    by_pixel = [(1 - p[label]) ** gamma * -math.log(p[label]) for p, label in scored_pixels(*batch)]
    loss = compute_segmentation_loss(spec(terms={"focal": 1}, gamma=gamma), *batch)
    assert loss.item() == pytest.approx(np.mean(by_pixel), rel=1e-9)


def test_weights_and_smoothing(batch: tuple[Tensor, Tensor]) -> None:
    weights, smoothing, epsilon = [1.0, 2.0, 0.5, 7.0], 0.2, 1.5
    total = divisor = 0.0
    for p, label in scored_pixels(*batch):
        truth = [smoothing / CLASSES + (1 - smoothing) * (c == label) for c in range(CLASSES)]
        entropy = -sum(t * math.log(q) for t, q in zip(truth, p, strict=True))
        expected = sum(t * q for t, q in zip(truth, p, strict=True))
        total += weights[label] * (0.7 * entropy + 0.3 * (entropy + epsilon * (1 - expected)))
        divisor += weights[label]
    terms = {"cross_entropy": 0.7, "poly1": 0.3}
    loss = compute_segmentation_loss(
        spec(terms=terms, smoothing=smoothing, epsilon=epsilon), *batch, torch.tensor(weights, dtype=torch.float64)
    )
    assert loss.item() == pytest.approx(total / divisor, rel=1e-12)


def test_dice_by_hand(batch: tuple[Tensor, Tensor]) -> None:
    pixels = list(scored_pixels(*batch))
    losses = []
    for label in range(3):  # class 3 is in no pixel
        overlap = sum(p[label] for p, truth in pixels if truth == label)
        size = sum(truth == label for _, truth in pixels)
        losses.append(1 - 2 * overlap / (sum(p[label] for p, _ in pixels) + size))
    assert dice(*batch).item() == pytest.approx(np.mean(losses), rel=1e-12)


def test_lovasz_by_its_definition(batch: tuple[Tensor, Tensor]) -> None:
    """The integral of 1 - IoU over thresholds of the errors (Berman et al. 2018, eq. 4 and 8)."""
    pixels = list(scored_pixels(*batch))
    losses = []
    for label in range(3):
        truth = np.array([label == own_label for _, own_label in pixels])
        errors = np.abs(truth - np.array([p[label] for p, _ in pixels]))
        levels = np.concatenate([[0.0], np.sort(errors)])
        area = 0.0
        for low, high in pairwise(levels):
            wrong = errors > low
            area += (high - low) * wrong.sum() / (truth | wrong).sum()
        losses.append(area)
    assert lovasz(*batch).item() == pytest.approx(np.mean(losses), rel=1e-6)
    expected = LovaszLoss("multiclass", ignore_index=255)(batch[0].float(), batch[1])
    assert lovasz(*batch).item() == pytest.approx(expected.item(), rel=1e-5)


ALL = {"cross_entropy": 0.3, "poly1": 0.5, "focal": 0.2, "dice": 0.7, "lovasz": 0.4}


@pytest.mark.parametrize("terms", [{name: weight} for name, weight in ALL.items()] + [ALL])
def test_gradients(batch: tuple[Tensor, Tensor], terms: dict[str, float]) -> None:
    logits, target = batch
    loss_spec = spec(terms=terms, smoothing=0.1, epsilon=2)
    assert torch.autograd.gradcheck(lambda x: compute_segmentation_loss(loss_spec, x, target), logits.requires_grad_())


def test_a_sum_is_the_sum(batch: tuple[Tensor, Tensor]) -> None:
    parts = sum(compute_segmentation_loss(spec(terms={name: weight}), *batch) for name, weight in ALL.items())
    torch.testing.assert_close(compute_segmentation_loss(spec(terms=ALL), *batch), parts)


@pytest.mark.parametrize("terms", [*({name: 1.0} for name in ALL), ALL])
def test_nothing_scored_is_zero_with_zero_gradient(terms: dict[str, float]) -> None:
    logits = (50 * torch.randn(2, CLASSES, 4, 4)).requires_grad_()
    loss = compute_segmentation_loss(spec(terms=terms, smoothing=0.1), logits, torch.full((2, 4, 4), 255))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_ignored_pixels_have_no_say(batch: tuple[Tensor, Tensor]) -> None:
    logits, target = batch
    changed_logits = torch.where(target[:, None] == 255, logits.flip(1) * 9, logits)
    torch.testing.assert_close(
        compute_segmentation_loss(spec(terms=ALL), changed_logits, target),
        compute_segmentation_loss(spec(terms=ALL), logits, target),
    )


def test_parts_of_a_batch_add_up_by_their_scored_pixels(batch: tuple[Tensor, Tensor]) -> None:
    """Gradient accumulation: the shares of the parts make the mean over the pixels of the whole."""
    logits, target = batch
    target = target.clone()
    target[0, :4] = 255  # far fewer scored pixels in the first part
    weights = torch.tensor([1.0, 3.0, 1.0, 1.0], dtype=torch.float64)
    batch_loss = compute_segmentation_loss(spec(), logits, target, weights)
    parts = [
        compute_segmentation_loss(spec(), logits[i : i + 1], target[i : i + 1], weights)
        * total_weight(target[i : i + 1], weights)
        / total_weight(target, weights)
        for i in range(2)
    ]
    torch.testing.assert_close(sum(parts), batch_loss)


def test_class_weights() -> None:
    names, pixels = ("sky", "road", "car"), np.array([50, 50, 0])
    assert class_weights(spec(), names, pixels) is None
    weights = class_weights(spec(class_weights={"car": 4}), names, pixels)
    assert weights is not None
    assert weights.tolist() == [1, 1, 4]
    balanced = class_weights(spec(class_weights="balanced"), names, pixels)
    np.testing.assert_allclose(balanced, [1 / math.log(1.52), 1 / math.log(1.52), 1 / math.log(1.02)])
    with pytest.raises(UserError, match=r"no class 'cars'\. Did you mean 'car'"):
        class_weights(spec(class_weights={"cars": 4}), names, pixels)
