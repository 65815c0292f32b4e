from __future__ import annotations

import pytest
import torch
from scipy.stats import beta, binomtest, ks_2samp, kstest
from torch import Generator, Tensor
from torchvision.transforms import v2

from snellen.data.augment.mixing import mix, soft_targets
from snellen.data.augment.spec import MixSpec

CLASSES = 6


def shares_of(spec: MixSpec, seeds: int, shape: tuple[int, int] = (12, 12)) -> list[tuple[Tensor, Tensor]]:
    """Mixed images and labels of batches in which image b is one flat colour, b, and of class b."""
    images = torch.arange(CLASSES).float()[:, None, None, None].expand(-1, 3, *shape)
    soft = soft_targets(torch.arange(CLASSES), CLASSES)
    return [mix(images, soft, spec, Generator().manual_seed(seed)) for seed in range(seeds)]


def test_soft_targets() -> None:
    assert soft_targets(torch.tensor([1, 0]), 3).tolist() == [[0, 1, 0], [1, 0, 0]]
    result = soft_targets(torch.tensor([1]), 4, smoothing=0.1)
    assert torch.allclose(result, torch.tensor([[0.025, 0.925, 0.025, 0.025]]))


@pytest.mark.parametrize("spec", [MixSpec(mixup=0.3), MixSpec(cutmix=1.0), MixSpec(mixup=0.3, cutmix=1.0)])
def test_labels_are_mixed_in_the_same_shares_as_pixels(spec: MixSpec) -> None:
    """The mean of the pixels of flat images is the expected class under the label."""
    for images, soft in shares_of(spec, 60):
        assert torch.allclose(soft.sum(1), torch.ones(CLASSES))
        expected = (soft * torch.arange(CLASSES)).sum(1)
        assert torch.allclose(images.mean((1, 2, 3)), expected, atol=1e-4)


def test_the_share_of_mixup_is_beta() -> None:
    """Where an image's partner is another, its own label's weight is Beta(alpha, alpha)."""
    sample = [soft[0, 0].item() for _, soft in shares_of(MixSpec(mixup=0.4), 1500) if (soft[0] > 0).sum() == 2]
    assert len(sample) > 1000
    assert kstest(sample, beta(0.4, 0.4).cdf).pvalue > 0.001


def test_the_share_of_cutmix_is_that_of_torchvision() -> None:
    sample = [soft[0, 0].item() for _, soft in shares_of(MixSpec(cutmix=1.0), 1500) if soft[0, 0] < 1]
    torch.manual_seed(0)
    reference = v2.CutMix(alpha=1.0, num_classes=2)
    images, target = torch.zeros(2, 3, 12, 12), torch.tensor([0, 1])
    expected = [share for _ in range(1500) if (share := reference(images, target)[1][0, 0].item()) < 1]
    assert ks_2samp(sample, expected).pvalue > 0.001


def test_each_kind_of_mixing_and_none_are_as_frequent_as_requested() -> None:
    result = {"none": 0, "mixup": 0, "cutmix": 0}
    for images, _ in shares_of(MixSpec(mixup=1.0, cutmix=1.0, probability=0.6), 1000, (64, 64)):
        is_uniform = bool((images == images[:, :1, :1, :1]).all())
        fractional = bool((images != images.round()).any())
        result["mixup" if fractional else "none" if is_uniform else "cutmix"] += 1
    assert binomtest(result["mixup"], 1000, 0.3).pvalue > 0.001
    assert binomtest(result["cutmix"], 1000, 0.3).pvalue > 0.001


def test_partners_are_a_permutation() -> None:
    for _, soft in shares_of(MixSpec(mixup=1.0), 30):
        assert torch.allclose(soft.sum(0), torch.ones(CLASSES), atol=1e-5)


def test_the_same_generator_gives_the_same_batch() -> None:
    spec = MixSpec(mixup=0.2, cutmix=1.0)
    for first, second in zip(shares_of(spec, 5), shares_of(spec, 5), strict=True):
        assert torch.equal(first[0], second[0])
        assert torch.equal(first[1], second[1])


def test_without_mixing_the_batch_is_unchanged() -> None:
    images, soft = torch.rand(4, 3, 8, 8), soft_targets(torch.arange(4), 4)
    for spec in (MixSpec(), MixSpec(mixup=1.0, probability=0.0)):
        result = mix(images, soft, spec, Generator().manual_seed(0))
        assert torch.equal(result[0], images)
        assert torch.equal(result[1], soft)
