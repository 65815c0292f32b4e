"""What a comparison shows, in one sentence that the numbers support."""

from __future__ import annotations

from collections.abc import Sequence

from snellen.insight.paired import PairedTest
from snellen.insight.power import images_by_interval, images_needed, smallest_by_interval, smallest_difference
from snellen.insight.segmentation import PairedMasks
from snellen.words import counted

_LEVEL = 0.05
_FAR_TOO_MANY = 1_000_000


def verdict(name_a: str, name_b: str, test: PairedTest | PairedMasks, p_value: float | None = None) -> str:
    """One sentence on A against B. p_value: corrected for several comparisons, if there were."""
    p = test.p_value if p_value is None else p_value
    if test.interval is None or p is None:
        return (
            f"{name_a} and {name_b} are not compared: {getattr(test, 'why_no_test', 'no test')}. On "
            f"{counted(test.total, 'image')} the difference is {100 * test.difference:+.1f} points."
        )
    low, high = test.interval.low, test.interval.high
    of = " of mIoU" if isinstance(test, PairedMasks) else ""
    if p < _LEVEL and (low > 0 or high < 0):
        better, worse = (name_a, name_b) if test.difference > 0 else (name_b, name_a)
        nearest, farthest = sorted((abs(low), abs(high)))
        return (
            f"{better} beats {worse} by {points(test.difference)}{of}, 95% interval {100 * nearest:.1f} to "
            f"{100 * farthest:.1f} (p {p_text(p)}, {counted(test.total, 'image')})."
        )
    images = (
        f"{'This image' if test.total == 1 else f'These {test.total:,} images'} cannot tell {name_a} and {name_b} apart"
    )
    interval = f"difference {100 * test.difference:+.1f} points{of}, 95% interval {100 * low:+.1f} to {100 * high:+.1f}"
    what = _what_would_for_masks(test) if isinstance(test, PairedMasks) else _what_would(test)
    return f"{images}: {interval} (p {p_text(p)}). {what}"


def _what_would(test: PairedTest) -> str:
    if test.discordance == 0:
        return "Both are right and wrong on the very same images."
    smallest = smallest_difference(test.total, test.discordance)
    if test.only_a == test.only_b:
        return _outlook(None, smallest)
    return _outlook(images_needed(test.difference, test.discordance), smallest)


def _what_would_for_masks(test: PairedMasks) -> str:
    smallest = smallest_by_interval(test.interval)
    if smallest == 0:
        return "Both get the same pixels right and wrong."
    if test.difference == 0:
        return _outlook(None, smallest)
    return _outlook(images_by_interval(test.difference, test.interval, test.total), smallest)


def _outlook(needed: int | None, smallest: float) -> str:
    """needed: images that would show a difference as large as the one found, None for none. smallest: NaN for none."""
    found = f"a true difference of {points(smallest)} would have been found four times in five"
    if needed is None:
        return "There are too few images to find any difference." if smallest != smallest else f"A{found[1:]}."
    many = f"about {rounded(needed)}" if needed < _FAR_TOO_MANY else "more than a million"
    return f"If the difference is real, {many} images would show it{'.' if smallest != smallest else f'; {found}.'}"


def listed(names: Sequence[str]) -> str:
    """Names in a sentence: 'a, b and c'."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def points(share: float) -> str:
    """A difference of two shares, without its sign."""
    return f"{100 * abs(share):.1f} points"


def rounded(number: int) -> str:
    """To two digits, since no estimate of a number of images is better."""
    digits = max(0, len(str(number)) - 2)
    return f"{round(number, -digits):,}"


def p_text(p: float) -> str:
    """After the word p: '< 0.001' or '= 0.042'."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"
