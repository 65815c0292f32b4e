"""Studies of several settings and seeds; in one setting another seed changes the result by another amount."""

from __future__ import annotations

import math
from functools import lru_cache, partial

import numpy as np
from scipy.stats import multivariate_normal, norm
from simulated.cells import Band, Cell, Generator, Measures

from snellen.insight.settings import Scores, compare, expected_by_setting

_SETTING, _CHANCE = 0.5, 0.7  # spreads of what a setting and what a single run find hard, relative to the images' ease
_ACCURACY = 0.8
_SHORT = "one .03 among .002, of its own kind, 5 settings, 3 seeds, 406 images"


def study(
    generator: Generator, seeds: list[int], images: int, spreads: list[float], accuracy: float = _ACCURACY
) -> list:
    """(S, N) right or wrong of each setting; all have the same accuracy on average over seeds and images.

    spreads: standard deviation of what a seed changes of the accuracy, by setting. Images, what a setting finds hard of
    itself, seeds and chance are crossed normal effects; an image is right where their sum is above a threshold.
    """
    total = math.sqrt(1 + _SETTING**2 + _CHANCE**2)
    slope = float(norm.pdf(norm.ppf(accuracy))) / total
    ease = generator.standard_normal(images, dtype=np.float32)
    right = []
    for number, spread in zip(seeds, spreads, strict=True):
        level = float(norm.ppf(accuracy)) * math.hypot(total, spread / slope)
        seed_effect = spread / slope * generator.standard_normal((number, 1), dtype=np.float32)
        setting_effect = _SETTING * generator.standard_normal(images, dtype=np.float32)
        chance = _CHANCE * generator.standard_normal((number, images), dtype=np.float32)
        right.append(chance + (ease + setting_effect) + (seed_effect + np.float32(level)) > 0)
    return right


def _draw(generator: Generator, seeds: list[int], images: int, spreads: list[float], kinds: str) -> Measures:
    """The last setting is the one unlike the others. kinds: a letter for each setting."""
    right = study(generator, seeds, images, spreads)
    settings = [
        Scores(tuple(range(len(correct))), correct.astype(np.float64), correct, kind)
        for correct, kind in zip(right, kinds, strict=True)
    ]
    expected = expected_by_setting(settings)
    intervals = [setting.uncertainty(prior).over.interval for setting, prior in zip(settings, expected, strict=True)]
    covers = [i is not None and i.low <= _ACCURACY <= i.high for i in intervals]
    pairs = compare(settings, expected)
    odd = len(settings) - 1
    covers_pair = {
        (p.a, p.b): p.over.interval is not None and p.over.interval.low <= 0 <= p.over.interval.high for p in pairs
    }
    with_odd = [covers_pair[pair] for pair in covers_pair if odd in pair]
    covers_of_pairs = [covers_pair[pair] for pair in covers_pair if odd not in pair]
    known_widths = [_known_width(seeds[0], images, spreads[0], number) for number in (1, 2)]
    half = [i.high - i.low for i in intervals if i is not None]
    differences = [p.over.interval.high - p.over.interval.low for p in pairs if p.over.interval is not None]
    return {
        "alike cover": float(np.mean(covers[:-1])),
        "the odd one covers": float(covers[-1]),
        "pairs of alike cover": float(np.mean(covers_of_pairs)) if covers_of_pairs else math.nan,
        "pairs with the odd one cover": float(np.mean(with_odd)),
        "family-wise": float(any(p.p_holm is not None and p.p_holm < 0.05 for p in pairs)),
        "width, alike": float(np.mean(half[:-1])),
        "width, odd": half[-1],
        "width, pairs of alike": differences[0],
        "width by known, alike": float(np.mean(half[:-1])) / known_widths[0],
        "width by known, pairs of alike": differences[0] / known_widths[1],
    }


@lru_cache
def _known_width(seeds: int, images: int, spread: float, settings: int) -> float:
    """Width of the 95% interval of one setting, or of the difference of two, whose variances are known."""
    total = 1 + _SETTING**2 + _CHANCE**2
    level = float(norm.ppf(_ACCURACY)) * math.sqrt(total)
    shared_image, shared_setting, same_run = (
        float(multivariate_normal.cdf([level, level], cov=[[total, shared], [shared, total]]))
        for shared in (1.0, 1 + _SETTING**2, total * (1 - 1e-9))
    )
    of_images = shared_setting - (shared_image if settings == 2 else _ACCURACY**2)
    variance = of_images / images + (same_run - shared_setting) / (seeds * images) + spread**2 / seeds
    return 2 * 1.959964 * math.sqrt(settings * variance)


def _cell(name: str, seeds: list[int], images: int, spreads: list[float], kinds: str) -> Cell:
    """kinds: a letter for each setting; the last setting is the one unlike the others, if there is one."""
    has_own_kind = kinds.count(kinds[-1]) == 1
    is_uniform = len(set(spreads)) == 1
    bands = {"alike cover": Band(0.94), "pairs of alike cover": Band(0.94)}
    odd_band = Band(0.94 if has_own_kind or is_uniform or len(set(seeds)) > 1 else 0.90)
    bands |= {"the odd one covers": odd_band, "pairs with the odd one cover": odd_band}
    if len(set(kinds)) > 1 or is_uniform:
        bands |= {"family-wise": Band(high=0.06)}
    draw = partial(_draw, seeds=seeds, images=images, spreads=spreads, kinds=kinds)
    title = f"{name}, {len(seeds)} settings, {' or '.join(map(str, sorted(set(seeds))))} seeds, {images} images"
    return Cell("a study", title, draw, bands, 60 if title == _SHORT else 0)


def _cells() -> list[Cell]:
    cells = []
    for settings, seeds, images in [
        *((settings, seeds, 5000) for settings in (3, 5) for seeds in (2, 3, 5)),
        *((10, seeds, 5000) for seeds in (2, 3)),
        *((5, seeds, 406) for seeds in (2, 3, 5)),
    ]:
        seeds_by_setting, one_kind, two_kinds = [seeds] * settings, "w" * settings, "w" * (settings - 1) + "h"
        cells.append(_cell("alike", seeds_by_setting, images, [0.002] * settings, one_kind))
        one_odd = [0.002] * (settings - 1) + [0.03]
        cells.append(_cell("one .03 among .002, of their kind", seeds_by_setting, images, one_odd, one_kind))
        cells.append(_cell("one .03 among .002, of its own kind", seeds_by_setting, images, one_odd, two_kinds))
        if settings == 5:
            four_times = [0.005] * 4 + [0.02]
            cells.append(_cell("one .02 among .005, of their kind", seeds_by_setting, images, four_times, one_kind))
            cells.append(_cell("one .02 among .005, of its own kind", seeds_by_setting, images, four_times, two_kinds))
    spreads, seeds = [0.01, 0.01, 0.01, 0.001, 0.001], [3, 3, 3, 5, 5]
    return cells + [_cell("whole networks .01, heads .001", seeds, images, spreads, "wwwhh") for images in (406, 5000)]


CELLS = _cells()
