"""The share of wrong labels against simulations whose share is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from snellen.insight.wrong_labels import wrong_share


def simulated(
    draw: np.random.Generator, images: int, rate: float, classes: int = 6
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Probabilities of a calibrated probe that is right for about 80% of the images, and labels, some of them wrong."""
    logits = draw.normal(size=(images, classes)) * 3
    probabilities = np.exp(logits - logits.max(1, keepdims=True))
    probabilities /= probabilities.sum(1, keepdims=True)
    labels = (probabilities.cumsum(1) < draw.random((images, 1))).sum(1).clip(max=classes - 1)
    wrong = draw.random(images) < rate
    labels[wrong] = (labels[wrong] + draw.integers(1, classes, int(wrong.sum()))) % classes
    return probabilities, labels


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.2])
def test_the_interval_covers_the_share(rate: float) -> None:
    covered = 0
    shares = []
    for seed in range(30):
        probabilities, labels = simulated(np.random.default_rng(seed), 800, rate)
        found = wrong_share(probabilities, labels)
        covered += found.interval.low <= rate <= found.interval.high
        assert found.interval.low <= found.share <= found.interval.high
        shares.append(found.share)
    assert covered >= 25  # of 30 at 95%: fewer in about one of 300 series, and these seeds are fixed
    assert abs(np.median(shares) - rate) < 0.015


def test_an_overconfident_probe_changes_little() -> None:
    probabilities, labels = simulated(np.random.default_rng(0), 4000, 0.05)
    sharper = probabilities**2.5
    sharper /= sharper.sum(1, keepdims=True)
    assert wrong_share(sharper, labels).share == pytest.approx(wrong_share(probabilities, labels).share, abs=0.01)


def test_copies_are_no_more_evidence_than_one_image() -> None:
    probabilities, labels = simulated(np.random.default_rng(0), 1000, 0.05)
    once = wrong_share(probabilities, labels)
    copies = np.repeat(np.arange(1000), 4)
    grouped = wrong_share(probabilities[copies], labels[copies], copies)
    alone = wrong_share(probabilities[copies], labels[copies])
    assert grouped.share == pytest.approx(once.share, abs=1e-3)
    # The sums of 4 equal residuals have 4 times their variance, but for what the fit leaves of it.
    assert grouped.interval.low == pytest.approx(once.interval.low, abs=4e-3)
    assert grouped.interval.high == pytest.approx(once.interval.high, abs=4e-3)
    assert alone.interval.high - alone.interval.low < 0.6 * (once.interval.high - once.interval.low)


def test_a_probe_that_knows_nothing_gives_no_bound() -> None:
    draw = np.random.default_rng(0)
    probabilities = draw.dirichlet(np.ones(5), 500)
    assert wrong_share(probabilities, draw.integers(0, 5, 500)).is_open


def test_corners() -> None:
    probabilities = np.full((200, 2), 0.01)
    probabilities[:, 0] = 0.99
    right = wrong_share(probabilities, np.zeros(200, np.int64))
    assert right.share < 1e-3
    assert right.interval.low == 0
    assert 0.005 < right.interval.high < 0.03  # (1 - w)^200 is exp(-1.92) at 0.0096
    assert wrong_share(probabilities, np.ones(200, np.int64)).is_open
    one = wrong_share(probabilities[:1], np.zeros(1, np.int64))
    assert one.interval.low == 0
    assert one.is_open
    with pytest.raises(ValueError, match="1 classes"):
        wrong_share(np.ones((3, 1)), np.zeros(3, np.int64))
