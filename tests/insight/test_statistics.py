"""Intervals and tests against other implementations, hand-worked cases, and simulation of what they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests

from snellen.insight.decision import corrected, holm, winner
from snellen.insight.paired import PairedTest, mcnemar, paired_by_group
from snellen.insight.power import images_by_interval, images_needed, smallest_by_interval, smallest_difference
from snellen.insight.proportions import Interval, wilson
from snellen.insight.segmentation import PairedMasks
from snellen.insight.sentence import verdict


def pair(only_a: int, only_b: int, both_right: int, neither_right: int) -> tuple[np.ndarray, np.ndarray]:
    a = np.array([True] * (only_a + both_right) + [False] * (only_b + neither_right))
    b = np.array([False] * only_a + [True] * both_right + [True] * only_b + [False] * neither_right)
    return a, b


def test_wilson_is_scipys() -> None:
    for correct, total in [(0, 10), (7, 10), (224, 406), (4999, 5000), (5, 5)]:
        expected = stats.binomtest(correct, total).proportion_ci(method="wilson")
        actual = wilson(correct, total)
        assert (actual.low, actual.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_no_images_is_an_error() -> None:
    with pytest.raises(ValueError, match="no share"):
        wilson(0, 0)


def test_mcnemar_mid_p() -> None:
    """The mid-p value is the exact one less the probability of the observed count (Fagerland et al. 2013)."""
    a, b = pair(only_a=12, only_b=4, both_right=50, neither_right=34)
    test = mcnemar(a, b)
    exact = statsmodels_mcnemar([[50, 12], [4, 34]], exact=True).pvalue
    assert test.p_value == pytest.approx(exact - stats.binom.pmf(4, 16, 0.5))
    assert (test.only_a, test.only_b, test.total) == (12, 4, 100)
    assert test.difference == pytest.approx(0.08)


def test_newcombe_by_hand() -> None:
    """Newcombe 1998, table III, method 10: 36, 12, 2, 0 of 50 gives 0.0569 to 0.3404."""
    a, b = pair(only_a=12, only_b=2, both_right=36, neither_right=0)
    test = mcnemar(a, b)
    assert (test.interval.low, test.interval.high) == pytest.approx((0.0569, 0.3404), abs=2e-4)


@pytest.mark.parametrize(
    ("both_right", "only_a", "only_b", "neither_right"), [(1, 1, 7, 12), (59, 6, 16, 80), (30, 8, 4, 18)]
)
def test_newcombe_lessens_a_positive_correlation(both_right: int, only_a: int, only_b: int, neither_right: int) -> None:
    """Newcombe 1998, method 10: half the images are taken from the numerator of phi, down to 0, where it is positive.

    Recomputed from scipy's Wilson limits. The first table is that of Bentur et al. 2009 in Fagerland, Lydersen & Laake
    2014, Stat Med 33:2850: -0.507 to -0.026.
    """
    total = both_right + only_a + only_b + neither_right
    a, b = both_right + only_a, both_right + only_b
    limits_a, limits_b = (stats.binomtest(right, total).proportion_ci(method="wilson") for right in (a, b))
    phi = max(both_right * neither_right - only_a * only_b - total / 2, 0) / np.sqrt(a * (total - a) * b * (total - b))
    correlation = np.array([[1, -phi], [-phi, 1]])
    distances = np.array([a / total - limits_a.low, limits_b.high - b / total])
    above = np.array([limits_a.high - a / total, b / total - limits_b.low])
    expected = [(a - b) / total + sign * np.sqrt(v @ correlation @ v) for sign, v in ((-1, distances), (1, above))]
    test = mcnemar(*pair(only_a, only_b, both_right, neither_right))
    assert test.interval is not None
    assert (test.interval.low, test.interval.high) == pytest.approx(expected)
    if total == 21:
        assert (test.interval.low, test.interval.high) == pytest.approx((-0.507, -0.026), abs=5e-4)


def test_identical_runs() -> None:
    a = np.array([True, False, True])
    test = mcnemar(a, a)
    assert test.p_value == 1
    assert test.difference == 0


@pytest.mark.slow
def test_paired_intervals_cover_and_tests_do_not_cry_wolf() -> None:
    """2,000 simulated pairs of runs: 95% of the intervals hold the true difference, 5% of true nulls are rejected."""
    generator = np.random.default_rng(1)
    images, repeats = 400, 2000
    covered_count = rejected_count = 0
    both_right = 0.6
    for truth in (0.04, 0.0):
        shares = [0.10 + truth / 2, 0.10 - truth / 2, both_right, 1 - 0.20 - both_right]
        for counts in generator.multinomial(images, shares, size=repeats):
            test = mcnemar(*pair(*counts))
            if truth:
                covered_count += test.interval.low <= truth <= test.interval.high
            else:
                rejected_count += test.p_value < 0.05
    error = 3 * np.sqrt(0.95 * 0.05 / repeats)
    assert covered_count / repeats > 0.95 - error
    assert rejected_count / repeats < 0.05 + error
    assert rejected_count / repeats > 0.02, "a test that never rejects finds nothing"


def test_grouped_images_need_the_grouped_test() -> None:
    """Where all images of a group share their luck, the test over images cries wolf; the one over groups does not."""
    generator = np.random.default_rng(2)
    groups = np.repeat(np.arange(60), 10)
    wolf_images = wolf_groups = 0
    repeats = 150
    for _ in range(repeats):
        a, b = (np.repeat(generator.random(60) < 0.7, 10) for _run in range(2))
        wolf_images += mcnemar(a, b).p_value < 0.05
        wolf_groups += paired_by_group(a, b, groups).p_value < 0.05
    assert wolf_images / repeats > 0.3
    assert wolf_groups / repeats < 0.05 + 3 * np.sqrt(0.05 * 0.95 / repeats)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


@pytest.mark.parametrize(("difference", "discordance"), [(0.03, 0.10), (0.05, 0.30)])
def test_power_by_simulation(difference: float, discordance: float) -> None:
    """On as many images as are said to be needed, McNemar's test finds the difference four times in five."""
    images = images_needed(difference, discordance)
    generator = np.random.default_rng(4)
    share_a, share_b = (discordance + difference) / 2, (discordance - difference) / 2
    detected = 0
    for only_a, only_b, concordant in generator.multinomial(images, [share_a, share_b, 1 - discordance], size=500):
        detected += mcnemar(*pair(only_a, only_b, concordant, 0)).p_value < 0.05
    assert detected / 500 == pytest.approx(0.8, abs=0.06)
    assert smallest_difference(images, discordance) == pytest.approx(difference, rel=0.01)


def possible_accuracy(value: float, total: int, digits: int = 4) -> bool:
    """Whether any count of right images out of `total`, rounded to `digits` decimals, gives `value`.

    An accuracy that no count gives was not computed over images; it may be a mean of batch means.
    """
    nearest = round(value * total)
    tolerance = 0.5 * 10**-digits * (1 + 1e-9)
    return any(
        0 <= count <= total and math.isclose(count / total, value, rel_tol=0, abs_tol=tolerance)
        for count in (nearest - 1, nearest, nearest + 1)
    )


COUNTS = {"A": 214, "B": 224, "C": 223, "D": 98, "E": 85}  # right images of 406, from the published accuracies


class TestTheReference:
    """What an honest tool would have told the author of the reference: 406 images, settings A to E, one seed."""

    def test_an_accuracy_that_406_images_cannot_have(self) -> None:
        assert not possible_accuracy(0.5527, 406)
        assert possible_accuracy(round(224 / 406, 4), 406)
        assert possible_accuracy(round(225 / 406, 4), 406)

    def test_intervals_are_nearly_five_points_wide(self) -> None:
        for name in "ABC":
            interval = wilson(COUNTS[name], 406)
            assert (interval.high - interval.low) / 2 == pytest.approx(0.048, abs=0.001)

    @pytest.mark.parametrize(("first", "second"), ["AB", "AC", "BC", "DE"])
    def test_runs_that_cannot_be_told_apart(self, first: str, second: str) -> None:
        """The images that only one got right were not published; at the usual overlap none of these is settled."""
        a, b = COUNTS[first], COUNTS[second]
        both_right = round(0.75 * min(a, b))
        test = mcnemar(*pair(a - both_right, b - both_right, both_right, 406 - a - b + both_right))
        assert test.p_value > 0.05
        assert test.interval.low < 0 < test.interval.high
        sentence = verdict(first, second, test)
        assert sentence.startswith(f"These 406 images cannot tell {first} and {second} apart")
        assert "equal" not in sentence

    def test_training_everything_beats_the_frozen_backbone(self) -> None:
        both_right = 70
        test = mcnemar(*pair(223 - both_right, 85 - both_right, both_right, 406 - 223 - 85 + both_right))
        assert verdict("C", "E", test).startswith("C beats E by 34.0 points, 95% interval 2")


def test_sentences() -> None:
    better = mcnemar(*pair(40, 10, 400, 50))
    assert verdict("old", "new", better) == (
        f"old beats new by 6.0 points, 95% interval {100 * better.interval.low:.1f} to "
        f"{100 * better.interval.high:.1f} (p < 0.001, 500 images, one seed each)."
    )
    same = mcnemar(*pair(0, 0, 5, 5))
    assert verdict("a", "b", same).endswith("Both are right and wrong on exactly the same images.")
    close = verdict("a", "b", mcnemar(*pair(12, 10, 60, 18)))
    assert "If the difference is real, about" in close


def test_the_power_of_few_groups_depends_on_their_number() -> None:
    """t with two degrees of freedom, not with 59: the sentence's smallest difference is by hand."""
    groups = np.repeat([0, 1, 2], 20)
    a, b = (np.random.default_rng(seed).random(60) < 0.7 for seed in (0, 1))
    test = paired_by_group(a, b, groups)
    assert test.interval is not None
    error = (test.interval.high - test.interval.low) / 2 / stats.t.ppf(0.975, 2)
    smallest = error * (stats.t.ppf(0.975, 2) + stats.t.ppf(0.8, 2))
    assert f"a true difference of {100 * smallest:.1f} points" in verdict("a", "b", test)


def test_the_smallest_difference_is_detected_with_80_percent_power() -> None:
    """A mean of 150 differences: the interval's width determines what such a test would have detected."""
    generator = np.random.default_rng(0)
    half = 1.96 * 0.2 / 150**0.5
    interval = Interval(-half, half)
    true = smallest_by_interval(interval, 150)
    detected = [
        abs(draw.mean()) > 1.96 * draw.std(ddof=1) / 150**0.5 for draw in generator.normal(true, 0.2, (4000, 150))
    ]
    assert np.mean(detected) == pytest.approx(0.8, abs=0.06)
    assert images_by_interval(true / 2, interval, 150, 150) == 600
    half = stats.t.ppf(0.975, 149) * 0.2 / 150**0.5
    corrected_difference = smallest_by_interval(Interval(-half, half), 150, alpha=0.005)
    quantile = stats.t.ppf(0.9975, 149)
    detected = [
        abs(draw.mean()) > quantile * draw.std(ddof=1) / 150**0.5
        for draw in generator.normal(corrected_difference, 0.2, (4000, 150))
    ]
    assert np.mean(detected) == pytest.approx(0.8, abs=0.06)


def test_sentences_on_masks() -> None:
    better = PairedMasks(0.04, Interval(0.01, 0.07), 0.012, 60, 41, 101, "jackknife over images")
    assert verdict("old", "new", better) == (
        "old beats new by 4.0 points of mIoU, 95% interval 1.0 to 7.0 (p = 0.012, 101 images, one seed each)."
    )
    level = PairedMasks(-0.01, Interval(-0.03, 0.01), 0.33, 45, 56, 101, "jackknife over images")
    assert verdict("old", "new", level) == (
        "These 101 images cannot tell old and new apart: difference -1.0 points of mIoU, 95% interval -3.0 to +1.0 "
        "(p = 0.330, one seed each). If the difference is real, about 820 images would show it; a true difference of "
        "2.9 points would have been detected with 80% power."
    )
    part = PairedMasks(
        0.04, Interval(0.01, 0.07), 0.012, 60, 41, 101, "jackknife over images", (0, 2), "mIoU over a and c"
    )
    assert "beats new by 4.0 points of mIoU over a and c, 95% interval" in verdict("old", "new", part)
    few = PairedMasks(0.04, None, None, 3, 2, 5, "jackknife over images", why_no_test="only 5 images")
    assert verdict("old", "new", few) == (
        "old and new are not compared: only 5 images. On 5 images the difference is +4.0 points of mIoU."
    )


def test_among_many_pairs_the_power_is_that_of_the_corrected_level() -> None:
    """Ten pairs: the smallest of ten p-values must be below 0.005."""
    a, b = pair(12, 10, 60, 18)
    single_pair, ten_pairs = verdict("a", "b", mcnemar(a, b)), verdict("a", "b", mcnemar(a, b), 1.0, pairs=10)
    assert f"{100 * smallest_difference(100, 0.22):.1f} points would have been detected with 80% power." in single_pair
    detectable = (
        f"{100 * smallest_difference(100, 0.22, alpha=0.005):.1f} points would have been detected with 80% power"
    )
    assert f"{detectable} among 10 pairs." in ten_pairs


def test_the_corrected_p_value_decides_and_not_the_interval() -> None:
    test = PairedTest(0.04, Interval(-0.001, 0.08), 0.04, 9, 5, 100, "McNemar, exact mid-p")
    assert verdict("a", "b", test).startswith("a beats b by 4.0 points, 95% interval −0.1 to +8.0 (p = 0.040")
    clear = PairedTest(0.04, Interval(0.01, 0.07), 0.02, 9, 5, 100, "McNemar, exact mid-p")
    assert "cannot tell a and b apart" in verdict("a", "b", clear, p_value=0.06, pairs=3)
    assert [winner(0.1, 0.04), winner(-0.1, 0.04), winner(0.1, 0.05), winner(0.1, None)] == [1, -1, 0, 0]
    assert corrected([0.01, None, 0.04]) == [pytest.approx(0.02), None, pytest.approx(0.04)]


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_is_statsmodels(p_values: list[float]) -> None:
    expected = multipletests(p_values, method="holm")[1] if p_values else []
    assert holm(p_values) == pytest.approx(list(expected))


def test_what_else_differs_is_in_the_sentence() -> None:
    sentence = verdict("a", "b", mcnemar(*pair(40, 10, 400, 50)), besides=["a trained 38% longer (40 s against 29 s)"])
    assert sentence.endswith("one seed each). Other differences: a trained 38% longer (40 s against 29 s).")
