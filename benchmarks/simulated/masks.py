"""Segmenters: images that differ in how hard they are, in which classes they show, and in how large these are."""

from __future__ import annotations

import itertools
from functools import lru_cache, partial

import numpy as np
from simulated.cells import Band, Cell, Generator, Measures

from snellen.insight.decision import holm
from snellen.insight.segmentation import mask_figures, paired_masks

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

_PIXELS = 10_000  # of an image
_MANY = 100_000  # images, of which the truth and the known widths are drawn
_COMMON = (1.0, 1.0, 1.0, 1.0)  # shares of the images that the classes are in
_MOSTLY = (1.0, 1.0, 0.9, 0.7)
_RARE = (1.0, 1.0, 1.0, 1.0, 0.15, 0.08)


def _images(
    generator: Generator,
    presence: tuple[float, ...],
    sizes: tuple[int, ...],
    sets: int = 1,
    runs: int = 1,
    correlation: float = 0.0,
) -> tuple[Floats, Floats]:
    """(R, S, N, C, 3) true positive, false positive, false negative pixels, and (R, S, N, C, 4) of the boundaries.

    presence: (C,). sizes: of the groups that the N images of a set come in, all 1 where they stand alone. correlation:
    of two images' difficulty within a group. All runs are equally good, and find the same images hard.
    """
    group = np.repeat(np.arange(len(sizes)), sizes)
    shape = (sets, len(group), len(presence))
    is_present = generator.random(shape) < presence
    size = is_present * (0.005 + generator.gamma(0.8, 1, shape))
    pixels = np.floor(_PIXELS * size / size.sum(-1, keepdims=True))
    shared = generator.standard_normal((sets, len(sizes), 1))[:, group]
    ease = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * generator.standard_normal((*shape[:2], 1))
    ease = ease + 0.7 * generator.standard_normal(shape)
    strength = 1.2 + np.linspace(0.5, -0.5, len(presence)) + 0.56 * ease
    right = 1 / (1 + np.exp(-strength - 0.31 * generator.standard_normal((runs, *shape))))
    right_pixels = np.floor(pixels * right)
    missed_pixels = pixels - right_pixels
    # A missed pixel is taken for another class: one that is there, by its size, or now and then one that is not.
    weight = pixels + 100
    among = missed_pixels / (weight.sum(-1, keepdims=True) - weight)
    alarms = np.round(weight * (among.sum(-1, keepdims=True) - among))
    true, predicted = np.ceil(4 * np.sqrt(pixels)), np.ceil(4 * np.sqrt(right_pixels + alarms))
    edges = [
        predicted,
        np.floor(predicted * right**2),
        np.broadcast_to(true, right_pixels.shape),
        np.floor(true * right**1.5),
    ]
    return np.stack([right_pixels, alarms, missed_pixels], -1), np.stack(edges, -1)


def _iou(sums: Floats) -> Floats:
    return np.asarray(sums[..., 0] / sums.sum(-1))


def _f_score(sums: Floats) -> Floats:
    precision, recall = sums[..., 1] / sums[..., 0], sums[..., 3] / sums[..., 2]
    return np.asarray(2 * precision * recall / (precision + recall))


@lru_cache
def _truth(presence: tuple[float, ...]) -> tuple[Floats, float, Floats]:
    """(C,) IoU, pixel accuracy and (C,) boundary F-score of very many images."""
    sums, edges = (simulated[0, :, 0].sum(0) for simulated in _images(np.random.default_rng(1), presence, (1,), _MANY))
    return _iou(sums), float(sums[:, 0].sum() / sums[:, [0, 2]].sum()), _f_score(edges)


@lru_cache
def _many_sets(presence: tuple[float, ...], sizes: tuple[int, ...], correlation: float) -> Floats:
    """(2, S, C) IoU of two runs on many sets of images; NaN where a class is in none of a set's images."""
    generator = np.random.default_rng(2)
    chunks = [
        _images(generator, presence, sizes, 200, 2, correlation)[0].sum(2)
        for _ in range(max(5, _MANY // (200 * sum(sizes))))
    ]
    with np.errstate(invalid="ignore"):
        return _iou(np.concatenate(chunks, axis=1))


def _known_width(
    presence: tuple[float, ...], sizes: tuple[int, ...], correlation: float, classes: tuple[int, ...], is_paired: bool
) -> float:
    """Width of an interval of the mIoU over some classes, or of the difference of two, by the normal quantile."""
    values = _many_sets(presence, sizes, correlation)[..., list(classes)].mean(-1)
    return 2 * 1.96 * float(np.nanstd(values[0] - values[1] if is_paired else values[0]))


def _groups(sizes: tuple[int, ...]) -> np.ndarray[tuple[int], np.dtype[np.int64]] | None:
    return None if max(sizes) == 1 else np.repeat(np.arange(len(sizes)), sizes)


def _one_run(
    generator: Generator, presence: tuple[float, ...], sizes: tuple[int, ...], correlation: float = 0.0
) -> Measures:
    """The interval that a report shows: of the mIoU over all classes, or over those in enough images."""
    counts, edges = (part[0, 0].astype(np.int64) for part in _images(generator, presence, sizes, 1, 1, correlation))
    figures = mask_figures(counts, edges, _groups(sizes))
    truth, right, outlines = _truth(presence)
    classes: tuple[int, ...] = tuple(np.flatnonzero(counts.any((0, 2))).tolist())
    interval, outline = figures.miou_interval, figures.boundary_f_interval
    if figures.common is not None:
        classes = figures.common.classes
        interval, outline = figures.common.miou_interval, figures.common.boundary_f_interval
    accuracy = figures.pixel_accuracy_interval
    if interval is None or outline is None or accuracy is None:
        undefined = ("covers", "width", "known width", "zero width", "IoU of a class covers", "boundary F covers")
        return {"given": 0.0} | dict.fromkeys((*undefined, "pixel accuracy covers"), np.nan)
    by_class = [
        (part.iou_interval.low <= truth[number] <= part.iou_interval.high, part.iou_interval)
        for number, part in enumerate(figures.classes)
        if part.iou_interval is not None
    ]
    enough_classes = list(classes)
    return {
        "given": 1.0,
        "covers": float(interval.low <= truth[enough_classes].mean() <= interval.high),
        "width": interval.high - interval.low,
        "known width": _known_width(presence, sizes, correlation, classes, False),
        "zero width": float(interval.low == interval.high or any(part.low == part.high for _, part in by_class)),
        "IoU of a class covers": float(np.mean([covers for covers, _ in by_class])),
        "boundary F covers": float(outline.low <= outlines[enough_classes].mean() <= outline.high),
        "pixel accuracy covers": float(accuracy.low <= right <= accuracy.high),
    }


def _pair(
    generator: Generator, presence: tuple[float, ...], sizes: tuple[int, ...], correlation: float = 0.0
) -> Measures:
    """Two runs that are equally good."""
    a, b = _images(generator, presence, sizes, 1, 2, correlation)[0][:, 0].astype(np.int64)
    test = paired_masks(a, b, _groups(sizes))
    if test.interval is None or test.p_value is None:
        return {"given": 0.0, "covers": np.nan, "falsely beats": 0.0, "width": np.nan, "known width": np.nan}
    return {
        "given": 1.0,
        "covers": float(test.interval.low <= 0 <= test.interval.high),
        "falsely beats": float(test.p_value < 0.05),
        "width": test.interval.high - test.interval.low,
        "known width": _known_width(presence, sizes, correlation, test.classes, True),
    }


def _ten_pairs(generator: Generator, presence: tuple[float, ...], images: int) -> Measures:
    """Five runs that are equally good, corrected by Holm."""
    runs = _images(generator, presence, (1,) * images, 1, 5)[0][:, 0].astype(np.int64)
    tests = (paired_masks(a, b) for a, b in itertools.combinations(runs, 2))
    p_values = [test.p_value for test in tests if test.p_value is not None]
    return {"falsely beats in any": float(bool(p_values) and min(holm(p_values)) < 0.05)}


def _band(images: int) -> Band:
    return Band(0.93) if images < 30 else Band(0.94, 0.965)


def _sizes(groups: int, is_equal: bool) -> tuple[int, ...]:
    """Sizes of groups of images: all 20, or from 4 to 40."""
    return (20,) * groups if is_equal else tuple(np.linspace(4, 40, groups).round().astype(int).tolist())


_NEVER = Band(high=0.0)
_KINDS = (
    ("four common classes", _COMMON),
    ("four classes in 70 to 100% of the images", _MOSTLY),
    ("two of six classes in 8 to 15% of the images", _RARE),
)
CELLS = [
    *(
        Cell(
            "masks",
            f"{name}, {images} images",
            partial(_one_run, presence=presence, sizes=(1,) * images),
            {
                "covers": Band(0.93) if presence is _RARE and images == 100 else _band(images),
                "zero width": _NEVER,
                "IoU of a class covers": Band(0.93),
                "boundary F covers": Band(0.93),
                "pixel accuracy covers": Band(0.93),
            },
            300 if images == 10 and presence is not _MOSTLY else 0,
        )
        for (name, presence), images in itertools.product(_KINDS, (10, 30, 100))
    ),
    *(
        Cell(
            "masks",
            f"five images: {title}",
            partial(draw, presence=_COMMON, sizes=(1,) * 5),
            {"given": Band(0.0, 0.0)},
        )
        for title, draw in (("one run", _one_run), ("two runs", _pair))
    ),
    *(
        Cell(
            "two runs on masks",
            f"{name}, {images} images",
            partial(_pair, presence=presence, sizes=(1,) * images),
            {"covers": Band(0.93 if images == 10 else 0.94), "falsely beats": Band(high=0.06)},
            300 if images == 10 and presence is _COMMON else 0,
        )
        for (name, presence), images in itertools.product(_KINDS, (10, 30, 100))
    ),
    *(
        Cell(
            "ten pairs on masks, Holm",
            f"{name}, {images} images",
            partial(_ten_pairs, presence=presence, images=images),
            {"falsely beats in any": Band(high=0.08 if images == 10 else 0.06)},
        )
        for (name, presence), images in itertools.product((_KINDS[0], _KINDS[2]), (10, 30, 100))
    ),
    *(
        Cell(
            "masks in groups",
            f"{title}, {groups} groups of {'20' if is_equal else '4 to 40'}, correlation {correlation}",
            partial(draw, presence=_COMMON, sizes=_sizes(groups, is_equal), correlation=correlation),
            {"covers": Band(0.93) if groups < 10 else Band(0.94, 0.97)} | bands,
        )
        for (title, draw, bands), groups, is_equal, correlation in itertools.product(
            (
                ("one run", _one_run, {"zero width": _NEVER}),
                ("two runs", _pair, {"falsely beats": Band(high=0.06)}),
            ),
            (3, 5, 10),
            (True, False),
            (0.0, 0.3),
        )
    ),
    *(
        Cell(
            "masks in groups",
            f"{groups} group{'s' if groups > 1 else ''}: none",
            partial(_one_run, presence=_COMMON, sizes=_sizes(groups, True), correlation=0.3),
            {"given": Band(0.0, 0.0)},
        )
        for groups in (1, 2)
    ),
]
