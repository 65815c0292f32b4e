"""Intervals over seeds and images hold what they promise in simulated studies."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from snellen.insight.seeds import needed, over_seeds


def study(generator: np.random.Generator, seeds: int, images: int, advantage: float, seed_spread: float) -> np.ndarray:
    """Differences of right and wrong of two settings, (S, N): hard and easy images, lucky and unlucky seeds."""
    difficulty = generator.normal(0.8, 1.0, images)
    right = []
    for shift in (advantage, 0.0):
        luck = generator.normal(0, seed_spread, (seeds, 1))
        own = generator.normal(0, 0.5, images)  # what a setting finds hard of itself
        right.append(difficulty + own + luck + shift + generator.normal(0, 0.7, (seeds, images)) > 0)
    return right[0].astype(float) - right[1].astype(float)


def truth(advantage: float, seed_spread: float) -> float:
    total = math.sqrt(1 + 0.25 + seed_spread**2 + 0.49)
    return float(stats.norm.cdf((0.8 + advantage) / total) - stats.norm.cdf(0.8 / total))


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("seed_spread", [0.0, 0.3])
def test_coverage_and_false_alarms(seeds: int, seed_spread: float) -> None:
    """800 studies: the intervals hold the truth in at least 95%, no difference is found in at most 5%."""
    generator = np.random.default_rng(seeds)
    repeats = 800
    covered = alarms = 0
    for _ in range(repeats):
        found = over_seeds(study(generator, seeds, 300, 0.15, seed_spread))
        covered += found.interval.low <= truth(0.15, seed_spread) <= found.interval.high
        alarms += over_seeds(study(generator, seeds, 300, 0.0, seed_spread)).p_value < 0.05
    error = 3 * math.sqrt(0.95 * 0.05 / repeats)
    assert 0.95 - error < covered / repeats
    assert alarms / repeats < 0.05 + error


def test_one_seed_is_the_usual_interval() -> None:
    values = np.random.default_rng(0).normal(0.2, 1, (1, 50))
    found = over_seeds(values)
    expected = stats.ttest_1samp(values[0], 0)
    assert found.p_value == pytest.approx(expected.pvalue)
    low, high = expected.confidence_interval()
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high))
    assert math.isnan(found.seed_share)


def test_seeds_that_differ_in_level_alone() -> None:
    """All images alike: the interval is that of a t-test over the seeds' means, all doubt is the seeds'."""
    levels = np.array([[0.1], [0.3], [0.25]])
    found = over_seeds(np.tile(levels, (1, 200)))
    expected = stats.ttest_1samp(levels[:, 0], 0)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.seed_share == 1


def test_p_value_and_interval_agree() -> None:
    generator = np.random.default_rng(7)
    for _ in range(60):
        found = over_seeds(study(generator, 3, 100, 0.2, 0.1))
        assert (found.p_value < 0.05) == (not found.interval.low <= 0 <= found.interval.high)


def test_no_differences_at_all() -> None:
    found = over_seeds(np.zeros((3, 20)))
    assert (found.mean, found.p_value, found.interval.low, found.interval.high) == (0, 1, 0, 0)
    with pytest.raises(ValueError, match="at least two images"):
        over_seeds(np.zeros((3, 1)))


@pytest.mark.parametrize(("what", "spread"), [("images", 0.0), ("seeds", 0.05)])
def test_as_many_as_said_show_the_difference_four_times_in_five(what: str, spread: float) -> None:
    """The middle answer of 21 pilot studies, then 300 studies of that size: most of them find the difference."""
    generator = np.random.default_rng(11)
    seeds, images, advantage = 3, 600 if what == "images" else 2000, 0.12
    asked = [getattr(needed(study(generator, seeds, images, advantage, spread)), what) for _ in range(21)]
    middle = int(np.median([10**6 if count is None else count for count in asked]))

    def shown(count: int) -> float:
        size = (seeds, count) if what == "images" else (count, images)
        return sum(over_seeds(study(generator, *size, advantage, spread)).p_value < 0.05 for _ in range(200)) / 200

    assert middle > (images if what == "images" else seeds)
    assert shown(middle) > 0.65
    assert shown(seeds if what == "seeds" else middle // 3) < 0.65


def test_what_no_number_would_show() -> None:
    found = needed(np.array([[1.0, -1.0, 0.0, 0.0], [1.0, -1.0, 0.0, 0.0]]))
    assert (found.images, found.seeds) == (None, None)
    assert found.smallest > 0
    alone = needed(np.random.default_rng(0).normal(0.02, 1, (1, 50)))
    assert alone.seeds is None
    assert alone.images is not None
    assert alone.images > 50
