"""Intervals over seeds and images hold what they promise in simulated studies."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from snellen.insight.power import needed
from snellen.insight.seeds import least_of_one, least_of_pair, uncertainty, uncertainty_unpaired


def study(generator: np.random.Generator, seeds: int, images: int, advantage: float, seed_spread: float) -> np.ndarray:
    """Differences of right and wrong of two settings, (S, N): hard and easy images, lucky and unlucky seeds."""
    difficulty = generator.normal(0.8, 1.0, images)
    right = []
    for shift in (advantage, 0.0):
        seed_effect = generator.normal(0, seed_spread, (seeds, 1))
        own_difficulty = generator.normal(0, 0.5, images)  # what a setting finds hard of itself
        right.append(difficulty + own_difficulty + seed_effect + shift + generator.normal(0, 0.7, (seeds, images)) > 0)
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
    covered_count = alarms = 0
    for _ in range(repeats):
        result = uncertainty(study(generator, seeds, 300, 0.15, seed_spread)).over
        covered_count += result.interval.low <= truth(0.15, seed_spread) <= result.interval.high
        alarms += uncertainty(study(generator, seeds, 300, 0.0, seed_spread)).over.p_value < 0.05
    error = 3 * math.sqrt(0.95 * 0.05 / repeats)
    assert 0.95 - error < covered_count / repeats
    assert alarms / repeats < 0.05 + error


def test_one_seed_is_the_usual_interval() -> None:
    values = np.random.default_rng(0).normal(0.2, 1, (1, 50))
    result = uncertainty(values).over
    expected = stats.ttest_1samp(values[0], 0)
    assert result.p_value == pytest.approx(expected.pvalue)
    low, high = expected.confidence_interval()
    assert (result.interval.low, result.interval.high) == pytest.approx((low, high))
    assert math.isnan(result.seed_share)


def test_seeds_that_differ_in_level_alone() -> None:
    """All images alike: the interval is that of a t-test over the seeds' means, all uncertainty is the seeds'."""
    levels = np.array([[0.1], [0.3], [0.25]])
    result = uncertainty(np.tile(levels, (1, 200))).over
    expected = stats.ttest_1samp(levels[:, 0], 0)
    assert result.p_value == pytest.approx(expected.pvalue)
    assert result.seed_share == 1


def test_p_value_and_interval_agree() -> None:
    generator = np.random.default_rng(7)
    for _ in range(60):
        result = uncertainty(study(generator, 3, 100, 0.2, 0.1)).over
        assert (result.p_value < 0.05) == (not result.interval.low <= 0 <= result.interval.high)


def test_no_differences_at_all() -> None:
    result = uncertainty(np.zeros((3, 20))).over
    assert (result.mean, result.p_value, result.interval.low, result.interval.high) == (0, 1, 0, 0)


@pytest.mark.parametrize("units", [1, 2])
def test_fewer_than_three_units_have_a_mean_and_nothing_else(units: int) -> None:
    values = np.full((3, units), 0.5)
    values[0] = 1.0
    for result in (uncertainty(values), uncertainty_unpaired(values, np.zeros((2, units)))):
        assert result.over.mean == pytest.approx(2 / 3)
        assert (result.over.interval, result.over.p_value) == (None, None)
        assert (needed(result).images, needed(result).seeds, needed(result).smallest) == (None, None, None)


@pytest.mark.parametrize(("source", "spread"), [("images", 0.0), ("seeds", 0.05)])
def test_the_stated_numbers_show_the_difference_with_80_percent_power(source: str, spread: float) -> None:
    """The middle answer of 21 pilot studies, then 300 studies of that size: most of them find the difference."""
    generator = np.random.default_rng(11)
    seeds, images, advantage = 3, 600 if source == "images" else 2000, 0.12
    numbers = [
        getattr(needed(uncertainty(study(generator, seeds, images, advantage, spread))), source) for _ in range(21)
    ]
    middle = int(np.median([10**6 if count is None else count for count in numbers]))

    def power(count: int) -> float:
        size = (seeds, count) if source == "images" else (count, images)
        return (
            sum(uncertainty(study(generator, *size, advantage, spread)).over.p_value < 0.05 for _ in range(200)) / 200
        )

    assert middle > (images if source == "images" else seeds)
    assert power(middle) > 0.65
    assert power(seeds if source == "seeds" else middle // 3) < 0.65


def test_differences_that_no_number_would_show() -> None:
    result = needed(uncertainty(np.array([[1.0, -1.0, 0.0, 0.0]] * 5)))
    assert (result.images, result.seeds) == (None, None)
    assert result.smallest is not None
    assert result.smallest > 0
    single_seed = needed(uncertainty(np.random.default_rng(0).normal(0.02, 1, (1, 50))))
    assert single_seed.seeds is None
    assert single_seed.images is not None
    assert single_seed.images > 50


@pytest.mark.parametrize("pairs", [1, 10])
def test_the_smallest_difference_is_detected_with_80_percent_power_by_another_study(pairs: int) -> None:
    """All images alike, five seeds, so that both studies are t-tests: what one calls the smallest, others find."""
    generator = np.random.default_rng(1)
    levels = generator.standard_normal((5, 1))
    smallest = needed(uncertainty(np.tile(levels, (1, 200))), pairs).smallest
    assert smallest is not None
    errors = smallest / (levels.std(ddof=1) / math.sqrt(5))  # a multiple of the standard error seen
    pilots, main_studies = generator.standard_normal((2, 20000, 5))
    differences = errors * pilots.std(1, ddof=1) / math.sqrt(5)
    heights = (main_studies.mean(1) + differences) / (main_studies.std(1, ddof=1) / math.sqrt(5))
    assert np.mean(np.abs(heights) > stats.t.ppf(1 - 0.025 / pairs, 4)) == pytest.approx(0.8, abs=0.03)


def test_how_many_images_one_seed_needs() -> None:
    """(z(0.975) + z(0.8))^2 variance / difference^2, as any textbook has it: Student's quantiles are all but normal."""
    values = np.random.default_rng(1).normal(0.02, 1, (1, 2000))
    images_needed = needed(uncertainty(values)).images
    expected = (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) ** 2 * values.var(ddof=1) / values.mean() ** 2
    assert expected > 2500
    assert images_needed == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize(
    ("seeds", "plans", "has_power"), [(1, True, True), (2, False, False), (3, True, False), (5, True, True)]
)
def test_statements_depend_on_the_number_of_seeds(seeds: int, plans: bool, has_power: bool) -> None:
    result = needed(uncertainty(study(np.random.default_rng(3), seeds, 400, 0.3, 0.0)), pairs=10)
    assert (result.images is not None) == plans
    assert (result.smallest is not None) == has_power
    assert result.level == (0.005 if has_power else 0.05)


def test_fewer_than_three_images_have_no_interval() -> None:
    result = uncertainty(np.array([[0.2, 0.8], [0.3, 0.7]])).over
    assert (result.interval, result.p_value) == (None, None)


def test_seeds_that_are_not_paired() -> None:
    """All images alike: each side's variance with its own quantile, added in squares."""
    a, b = np.array([[0.1], [0.3], [0.25]]), np.array([[0.5], [0.4], [0.45], [0.42], [0.48]])
    result = uncertainty_unpaired(np.tile(a, (1, 60)), np.tile(b, (1, 60))).over
    parts = [stats.t.ppf(0.975, len(side) - 1) ** 2 * side.var(ddof=1) / len(side) for side in (a, b)]
    assert result.mean == pytest.approx(a.mean() - b.mean())
    assert result.interval is not None
    assert result.interval.high - result.mean == pytest.approx(math.sqrt(sum(parts)))


def test_all_images_right_still_leaves_uncertainty() -> None:
    """Forty images, no error: one right and one wrong image more have the variance of their share, by hand."""
    right = np.ones((3, 40), dtype=bool)
    share = 41 / 42
    squares = 41 * (1 - share) ** 2 + share**2
    least = least_of_one(right)
    assert least == pytest.approx(squares / 41 / 42)
    result = uncertainty(right.astype(float), least=least).over
    assert result.interval is not None
    assert result.interval.low == pytest.approx(1 - stats.t.ppf(0.975, 39) * math.sqrt(least))
    assert least_of_pair(right, right) == pytest.approx(0.5 / 40 / 41)


def test_with_ten_errors_nothing_is_added() -> None:
    wrong = np.zeros((2, 100), dtype=bool)
    wrong[:, :9] = True
    assert least_of_one(~wrong) > 0
    assert least_of_one(wrong) > 0
    assert least_of_pair(~wrong, np.ones_like(wrong)) > 0
    wrong[:, 9] = True
    assert least_of_one(~wrong) == 0
    assert least_of_pair(~wrong, np.ones_like(wrong)) == 0


def test_two_seeds_that_agree_by_luck_are_not_certain() -> None:
    """Each seed is right on half of the images, and no image twice: neither seeds nor images seem to vary."""
    values = np.zeros((2, 40))
    values[0, ::2] = values[1, 1::2] = 1
    result = uncertainty(values).over
    assert result.interval is not None
    assert result.interval.high - result.interval.low > 0.2
