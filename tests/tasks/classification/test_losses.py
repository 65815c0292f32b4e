"""Losses against their formulas in float64."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from snellen.tasks.classification.losses import compute_loss, poly1
from snellen.tasks.classification.recipe import LossSpec


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(6, 4, generator=generator, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 1, 1])


@pytest.mark.parametrize("epsilon", [-1.0, 0.0, 2.0])
def test_poly1_is_the_papers_formula(batch: tuple[torch.Tensor, torch.Tensor], epsilon: float) -> None:
    logits, target = batch
    p = logits.exp() / logits.exp().sum(1, keepdim=True)
    p_t = p[torch.arange(6), target]
    expected = (-p_t.log() + epsilon * (1 - p_t)).mean()
    assert torch.isclose(poly1(logits, target, epsilon), expected)
    assert torch.isclose(poly1(logits, F.one_hot(target, 4).double(), epsilon), expected)


def test_poly1_gradient(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, target = batch
    assert torch.autograd.gradcheck(lambda x: poly1(x, target, 2.0, 0.1), logits.requires_grad_())


def test_soft_targets_by_hand(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, target = batch
    soft = 0.7 * F.one_hot(target, 4).double() + 0.3 * F.one_hot(target.roll(1), 4).double()
    smoothed = 0.9 * soft + 0.1 / 4
    expected = -(smoothed * logits.log_softmax(1)).sum(1).mean()
    assert torch.isclose(compute_loss(LossSpec(name="soft_target", smoothing=0.1), logits, soft), expected)


def test_cross_entropy_over_images(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, target = batch
    expected = -logits.log_softmax(1)[torch.arange(6), target].mean()
    assert torch.isclose(compute_loss(LossSpec(), logits, target), expected)
