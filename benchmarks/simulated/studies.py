"""Studies of several settings and seeds, of which one is unlike the others in what another seed changes."""

from __future__ import annotations

import math
from functools import lru_cache, partial

import numpy as np
from scipy.stats import multivariate_normal, norm
from simulated.cells import Cell, Generator, Measures, Wanted

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
        luck = spread / slope * generator.standard_normal((number, 1), dtype=np.float32)
        own = _SETTING * generator.standard_normal(images, dtype=np.float32)
        chance = _CHANCE * generator.standard_normal((number, images), dtype=np.float32)
        right.append(chance + (ease + own) + (luck + np.float32(level)) > 0)
    return right


def _draw(generator: Generator, seeds: list[int], images: int, spreads: list[float], kinds: str) -> Measures:
    """The last setting is the one unlike the others. kinds: a letter for each setting."""
    right = study(generator, seeds, images, spreads)
    settings = [
        Scores(tuple(range(len(each))), each.astype(np.float64), each, kind)
        for each, kind in zip(right, kinds, strict=True)
    ]
    expected = expected_by_setting(settings)
    own = [setting.uncertainty(known).over.interval for setting, known in zip(settings, expected, strict=True)]
    covers = [i is not None and i.low <= _ACCURACY <= i.high for i in own]
    pairs = compare(settings, expected)
    odd = len(settings) - 1
    holds = {
        (p.a, p.b): p.over.interval is not None and p.over.interval.low <= 0 <= p.over.interval.high for p in pairs
    }
    with_odd = [holds[pair] for pair in holds if odd in pair]
    alike = [holds[pair] for pair in holds if odd not in pair]
    known = [_known_width(seeds[0], images, spreads[0], number) for number in (1, 2)]
    half = [i.high - i.low for i in own if i is not None]
    differences = [p.over.interval.high - p.over.interval.low for p in pairs if p.over.interval is not None]
    return {
        "alike cover": float(np.mean(covers[:-1])),
        "the odd one covers": float(covers[-1]),
        "pairs of alike cover": float(np.mean(alike)) if alike else math.nan,
        "pairs with the odd one cover": float(np.mean(with_odd)),
        "family-wise": float(any(p.p_holm is not None and p.p_holm < 0.05 for p in pairs)),
        "width, alike": float(np.mean(half[:-1])),
        "width, odd": half[-1],
        "width, pairs of alike": differences[0],
        "width by known, alike": float(np.mean(half[:-1])) / known[0],
        "width by known, pairs of alike": differences[0] / known[1],
    }


@lru_cache
def _known_width(seeds: int, images: int, spread: float, settings: int) -> float:
    """Width of the 95% interval of one setting, or of the difference of two, whose variances are known."""
    total = 1 + _SETTING**2 + _CHANCE**2
    level = float(norm.ppf(_ACCURACY)) * math.sqrt(total)
    both, own, all_ = (
        float(multivariate_normal.cdf([level, level], cov=[[total, shared], [shared, total]]))
        for shared in (1.0, 1 + _SETTING**2, total * (1 - 1e-9))
    )
    of_images = own - (both if settings == 2 else _ACCURACY**2)
    variance = of_images / images + (all_ - own) / (seeds * images) + spread**2 / seeds
    return 2 * 1.959964 * math.sqrt(settings * variance)


def _cell(name: str, seeds: list[int], images: int, spreads: list[float], kinds: str) -> Cell:
    """kinds: a letter for each setting; the last setting is the one unlike the others, where there is one."""
    alone = kinds.count(kinds[-1]) == 1
    alike = len(set(spreads)) == 1
    wanted = {"alike cover": Wanted(0.94), "pairs of alike cover": Wanted(0.94)}
    own = Wanted(0.94 if alone or alike or len(set(seeds)) > 1 else 0.90)
    wanted |= {"the odd one covers": own, "pairs with the odd one cover": own}
    if len(set(kinds)) > 1 or alike:
        wanted |= {"family-wise": Wanted(high=0.06)}
    draw = partial(_draw, seeds=seeds, images=images, spreads=spreads, kinds=kinds)
    title = f"{name}, {len(seeds)} settings, {' or '.join(map(str, sorted(set(seeds))))} seeds, {images} images"
    return Cell("a study", title, draw, wanted, 60 if title == _SHORT else 0)


def _cells() -> list[Cell]:
    found = []
    for settings, seeds, images in [
        *((settings, seeds, 5000) for settings in (3, 5) for seeds in (2, 3, 5)),
        *((10, seeds, 5000) for seeds in (2, 3)),
        *((5, seeds, 406) for seeds in (2, 3, 5)),
    ]:
        each, one, own = [seeds] * settings, "w" * settings, "w" * (settings - 1) + "h"
        found.append(_cell("alike", each, images, [0.002] * settings, one))
        unlike = [0.002] * (settings - 1) + [0.03]
        found.append(_cell("one .03 among .002, of their kind", each, images, unlike, one))
        found.append(_cell("one .03 among .002, of its own kind", each, images, unlike, own))
        if settings == 5:
            fourfold = [0.005] * 4 + [0.02]
            found.append(_cell("one .02 among .005, of their kind", each, images, fourfold, one))
            found.append(_cell("one .02 among .005, of its own kind", each, images, fourfold, own))
    spreads, seeds = [0.01, 0.01, 0.01, 0.001, 0.001], [3, 3, 3, 5, 5]
    return found + [_cell("whole networks .01, heads .001", seeds, images, spreads, "wwwhh") for images in (406, 5000)]


CELLS = _cells()
