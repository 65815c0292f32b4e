"""The result of a comparison, in one sentence that the numbers support."""

from __future__ import annotations

from collections.abc import Sequence

from snellen.insight.decision import LEVEL, winner
from snellen.insight.paired import PairedTest
from snellen.insight.power import images_by_interval, images_needed, smallest_by_interval, smallest_difference
from snellen.insight.proportions import Interval, percents
from snellen.insight.segmentation import PairedMasks
from snellen.words import counted

_FAR_TOO_MANY = 1_000_000


def verdict(
    name_a: str,
    name_b: str,
    test: PairedTest | PairedMasks,
    p_value: float | None = None,
    pairs: int = 1,
    besides: Sequence[str] = (),
) -> str:
    """One sentence on A against B, each a run with one seed; if neither is better, what would tell them apart.

    p_value: corrected for the number of comparisons. pairs: that number. besides: what else differs
    between the two, in words.
    """
    interval, p = test.interval, test.p_value if p_value is None else p_value
    measure = f" of {test.measure}" if isinstance(test, PairedMasks) else ""
    if interval is None or p is None:
        return (
            f"{name_a} and {name_b} are not compared: {test.why_no_test}. On {counted(test.total, 'image')} the "
            f"difference is {100 * test.difference:+.1f} points{measure}."
        )
    decision = winner(test.difference, p)
    unlike = f" Other differences: {'; '.join(besides)}." if besides else ""
    if decision:
        better, worse = (name_a, name_b) if decision > 0 else (name_b, name_a)
        return (
            f"{better} beats {worse} by {points(test.difference)}{measure}, 95% interval "
            f"{interval_alone(test.difference, interval)} (p {p_text(p)}, {counted(test.total, 'image')}, "
            f"one seed each).{unlike}"
        )
    subject = (
        f"{'This image' if test.total == 1 else f'These {test.total:,} images'} cannot tell {name_a} and {name_b} apart"
    )
    low, high = interval.low, interval.high
    ends = f"{100 * low:+.1f} to {100 * high:+.1f}"
    observed = f"difference {100 * test.difference:+.1f} points{measure}, 95% interval {ends}"
    return f"{subject}: {observed} (p {p_text(p)}, one seed each). {_advice(test, pairs)}{unlike}"


def interval_alone(difference: float, interval: Interval) -> str:
    """The interval of a difference that is written without its sign; with signs if it includes zero.

    A test decides by its corrected p-value, so the interval of the pair alone can include zero, for example if test
    and interval come from different methods.
    """
    size = Interval(-interval.high, -interval.low) if difference < 0 else interval
    return percents(size) if size.low > 0 else signed_range(size)


def _advice(test: PairedTest | PairedMasks, pairs: int) -> str:
    """What would tell the two apart, at Holm's level for the smallest p-value among `pairs` pairs."""
    level = LEVEL / pairs
    if isinstance(test, PairedTest) and test.discordance == 0:
        return "Both are right and wrong on exactly the same images."
    if isinstance(test, PairedTest) and test.method.startswith("McNemar"):
        smallest = smallest_difference(test.total, test.discordance, alpha=level)
        if test.only_a == test.only_b:
            return _outlook(None, smallest, pairs)
        return _outlook(images_needed(test.difference, test.discordance, alpha=level), smallest, pairs)
    interval = test.interval
    assert interval is not None
    units = test.groups or test.total
    smallest = smallest_by_interval(interval, units, level)
    if test.difference == 0:
        return _outlook(None, smallest, pairs)
    return _outlook(images_by_interval(test.difference, interval, test.total, units, level), smallest, pairs)


def _outlook(needed: int | None, smallest: float, pairs: int) -> str:
    """needed: images that would show a difference as large as the observed one, or None. smallest: NaN for none."""
    among = "" if pairs == 1 else f" among {pairs} pairs"
    detectable = f"a true difference of {points(smallest)} would have been detected with 80% power{among}"
    if needed is None:
        return "There are too few images to detect any difference." if smallest != smallest else f"A{detectable[1:]}."
    addition = "" if smallest != smallest else f"; {detectable}"
    number = f"about {rounded(needed)}" if needed < _FAR_TOO_MANY else "more than a million"
    return f"If the difference is real, {number} images would show it{addition}."


def listed(names: Sequence[str]) -> str:
    """Names in a sentence: 'a, b and c'."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def signed(share: float) -> str:
    """A difference of two shares in points, with its sign."""
    return f"{100 * share:+.1f}".replace("-", "−")


def signed_range(interval: Interval) -> str:
    """The ends of the interval of a difference in points, with their signs: "−1.2 to +3.4"."""
    return f"{signed(interval.low)} to {signed(interval.high)}"


def points(share: float) -> str:
    """A difference of two shares, without its sign."""
    return f"{100 * abs(share):.1f} points"


def rounded(number: int) -> str:
    """Rounded to two digits: no estimate of a number of images is more precise."""
    digits = max(0, len(str(number)) - 2)
    return f"{round(number, -digits):,}"


def p_text(p: float) -> str:
    """After the word p: '< 0.001' or '= 0.042'."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"
