"""The score of a run that keeps the epoch which scores best on the images that are scored.

Truth: what the kept epoch is worth on new images. Accuracy rises over the first half of the epochs and stays level
then; where said, it also goes up and down from epoch to epoch. An image is right where its ease plus the network's own
view of it is above a threshold; views of neighbouring epochs are correlated.
"""

from __future__ import annotations

import math
from functools import cache, partial

import numpy as np
from scipy.stats import norm
from simulated.cells import Band, Cell, Generator, Measures

from snellen.insight.crossfit import best_by_miou, best_by_share, crossfitted, partition
from snellen.insight.groups import share
from snellen.insight.paired import mcnemar, paired_by_group
from snellen.insight.proportions import wilson
from snellen.insight.segmentation import mask_figures, paired_masks

_SPREAD = 0.5  # of a network's view of an image, relative to the deviation of the images' ease
_CORRELATION = 0.5  # of views one epoch apart


def _curve(epochs: int, level: float, height: float) -> np.ndarray:
    """(E,) from level - rise up to `level`, which is reached half-way."""
    remaining = np.clip(1 - np.arange(1, epochs + 1) / (epochs / 2), 0, 1)
    return level - height * remaining**2


def _views(generator: Generator, epochs: int, images: int) -> np.ndarray:
    """(E, N) float32 of deviation 1, correlated along the epochs."""
    views = generator.standard_normal((epochs, images), dtype=np.float32)
    fresh = np.float32(math.sqrt(1 - _CORRELATION**2))
    for epoch in range(1, epochs):
        views[epoch] = np.float32(_CORRELATION) * views[epoch - 1] + fresh * views[epoch]
    return views


def _run(generator: Generator, ease: np.ndarray, accuracy: np.ndarray) -> np.ndarray:
    """(E, N) which images are right at each epoch. ease: (N,) of deviation 1."""
    threshold = norm.ppf(1 - accuracy) * math.hypot(1, _SPREAD)
    views = ease.astype(np.float32) + np.float32(_SPREAD) * _views(generator, len(accuracy), len(ease))
    return views > threshold.astype(np.float32)[:, None]


@cache
def _folds(images: int, per_group: int = 1) -> np.ndarray:
    groups = None if per_group == 1 else np.arange(images) // per_group
    return partition([f"{number:06}.jpg" for number in range(images)], groups)


def _best(correct: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """(N,) cross-fitted."""
    return crossfitted(correct, folds, best_by_share(correct, folds))


def _score(generator: Generator, epochs: int, images: int, accuracy: float, wobble: float) -> Measures:
    curve = _curve(epochs, accuracy, 0.35) + wobble * generator.standard_normal(epochs)
    correct = _run(generator, generator.standard_normal(images), curve)
    best_epoch = int(correct.sum(1).argmax())
    truth = float(curve[best_epoch])
    values = _best(correct, _folds(images))
    interval, naive = wilson(int(values.sum()), images), wilson(int(correct[best_epoch].sum()), images)
    return {
        "bias, points": 100 * (float(values.mean()) - truth),
        "covers": float(interval.low <= truth <= interval.high),
        "width": interval.high - interval.low,
        "known width": 2 * 1.96 * math.sqrt(truth * (1 - truth) / images),
        "zero width": float(interval.low == interval.high),
        "bias of the kept weights' own score, points": 100 * (float(correct[best_epoch].mean()) - truth),
        "Wilson around the kept weights' own score covers": float(naive.low <= truth <= naive.high),
    }


def _pair(generator: Generator, epochs: int, images: int, accuracy: float) -> Measures:
    """Two runs of one accuracy on the same images."""
    curve, folds = _curve(epochs, accuracy, 0.35), _folds(images)
    ease = generator.standard_normal(images)
    a, b = (_run(generator, ease, curve) for _ in range(2))
    best = mcnemar(_best(a, folds), _best(b, folds))
    last = mcnemar(_best(a, folds), b[-1])
    naive = mcnemar(a[a.sum(1).argmax()], b[-1])
    truth = float(curve[a.sum(1).argmax()] - curve[-1])
    return {
        "best and last: falsely beats": float(last.p_value < 0.05),
        "best and best: falsely beats": float(best.p_value < 0.05),
        "best and last: covers": float(last.interval.low <= truth <= last.interval.high),
        "without cross-fitting, best and last: falsely beats": float(naive.p_value < 0.05),
    }


def _grouped_pair(generator: Generator, epochs: int, groups: int, per_group: int, correlation: float) -> Measures:
    """The same where images come in groups whose ease is correlated."""
    images = groups * per_group
    curve, folds, group = _curve(epochs, 0.7, 0.35), _folds(images, per_group), np.arange(images) // per_group
    ease = _grouped(generator, group, correlation)
    # What a network makes of the images of a group is correlated as well.
    a, b = (_run(generator, 0.8 * ease + 0.6 * _grouped(generator, group, correlation), curve) for _ in range(2))
    last = paired_by_group(_best(a, folds), b[-1], group)
    best = paired_by_group(_best(a, folds), _best(b, folds), group)
    values, truth = _best(a, folds), float(curve[a.sum(1).argmax()])
    interval = share(values, group)
    return {
        "bias, points": 100 * (float(values.mean()) - truth),
        "covers": math.nan if interval is None else float(interval.low <= truth <= interval.high),
        "width": math.nan if interval is None else interval.high - interval.low,
        "best and last: falsely beats": math.nan if last.p_value is None else float(last.p_value < 0.05),
        "best and best: falsely beats": math.nan if best.p_value is None else float(best.p_value < 0.05),
    }


def _grouped(generator: Generator, group: np.ndarray, correlation: float) -> np.ndarray:
    common = generator.standard_normal(int(group.max()) + 1)[group]
    return math.sqrt(correlation) * common + math.sqrt(1 - correlation) * generator.standard_normal(len(group))


_CLASSES = 4


def _areas(generator: Generator, images: int) -> np.ndarray:
    """(N, C) pixels of each class."""
    return np.round(generator.gamma(2.0, 2000.0, (images, _CLASSES)))


def _masks(areas: np.ndarray, ease: np.ndarray, views: np.ndarray, level: np.ndarray) -> np.ndarray:
    """(E, N, C, 3) true positive, false positive and false negative pixels; missed pixels go to the next class."""
    recall = 1 / (1 + np.exp(-(level[:, None] + 0.8 * ease + 0.4 * views)))  # (E, N)
    right = np.round(recall[..., None] * areas)
    missed_pixels = areas - right
    return np.stack([right, np.roll(missed_pixels, 1, axis=-1), missed_pixels], axis=-1).astype(np.int64)


@cache
def _true_miou() -> tuple[np.ndarray, np.ndarray]:
    """Levels, and the mIoU of each on very many images."""
    generator, levels = np.random.default_rng(7), np.linspace(-1, 2, 61)
    areas, ease, views = _areas(generator, 40_000), generator.standard_normal(40_000), generator.standard_normal(40_000)
    counts = [_masks(areas, ease, views[None], level[None])[0].sum(0) for level in levels]
    return levels, np.array([np.mean(pixels[:, 0] / pixels.sum(1)) for pixels in counts])


def _mask_pair(generator: Generator, epochs: int, images: int) -> Measures:
    level, folds = _curve(epochs, 1.0, 1.5), _folds(images)
    areas, ease = _areas(generator, images), generator.standard_normal(images)
    a, b = (_masks(areas, ease, _views(generator, epochs, images), level) for _ in range(2))
    best_epoch = int(np.nanargmax([np.mean(s[:, 0] / s.sum(1)) for s in a.sum(1)]))
    truth = float(np.interp(level[best_epoch], *_true_miou()))
    of_a, of_b = (
        crossfitted(counts_by_epoch, folds, best_by_miou(counts_by_epoch.astype(np.uint32), folds))
        for counts_by_epoch in (a, b)
    )
    edges = np.zeros((images, _CLASSES, 4), np.int64)
    figures, naive = mask_figures(of_a, edges), mask_figures(a[best_epoch], edges).miou_interval
    interval = figures.miou_interval
    measures = {"bias, points": 100 * (figures.miou - truth), "covers": math.nan, "width": math.nan}
    if interval is not None and naive is not None:
        measures |= {"covers": float(interval.low <= truth <= interval.high), "width": interval.high - interval.low}
        measures |= {"interval of the kept weights' own score covers": float(naive.low <= truth <= naive.high)}
    for name, test in (
        ("best and last: falsely beats", paired_masks(of_a, b[-1])),
        ("best and best: falsely beats", paired_masks(of_a, of_b)),
        ("without cross-fitting, best and last: falsely beats", paired_masks(a[best_epoch], b[-1])),
    ):
        measures[name] = math.nan if test.p_value is None else float(test.p_value < 0.05)
    return measures


_UNBIASED, _HOLDS, _NO_ALARM = Band(-0.3, 0.3), Band(0.935, 0.965), Band(high=0.06)
_NO_ALARMS = {"best and last: falsely beats": _NO_ALARM, "best and best: falsely beats": _NO_ALARM}
_SIZES = [(epochs, images) for epochs in (20, 150) for images in (100, 406, 5000)]

CELLS = [
    *(
        Cell(
            "the chosen epoch",
            f"score, {epochs} epochs, {images} images, accuracy {accuracy}{', up and down by a point' * bool(wobble)}",
            partial(_score, epochs=epochs, images=images, accuracy=accuracy, wobble=wobble),
            {"bias, points": _UNBIASED, "covers": _HOLDS},
            300 if (epochs, images, wobble) == (20, 406, 0.0) else 0,
        )
        for epochs, images in _SIZES
        for accuracy, wobble in ((0.55, 0.0), (0.9, 0.0), (0.55, 0.01))
    ),
    *(
        Cell(
            "the chosen epoch",
            f"two runs, {epochs} epochs, {images} images, accuracy {accuracy}",
            partial(_pair, epochs=epochs, images=images, accuracy=accuracy),
            _NO_ALARMS,
            300 if (epochs, images, accuracy) == (20, 406, 0.55) else 0,
        )
        for epochs, images in _SIZES
        for accuracy in (0.55, 0.9)
    ),
    *(
        Cell(
            "the chosen epoch",
            f"two runs, {epochs} epochs, {groups} groups of 20 images",
            partial(_grouped_pair, epochs=epochs, groups=groups, per_group=20, correlation=0.2),
            {"bias, points": _UNBIASED, "covers": Band(0.94, 0.97), **_NO_ALARMS},
        )
        for epochs in (20, 150)
        for groups in (10, 40)
    ),
    *(
        Cell(
            "the chosen epoch",
            f"masks, {epochs} epochs, {images} images",
            partial(_mask_pair, epochs=epochs, images=images),
            {"bias, points": _UNBIASED, "covers": _HOLDS, **_NO_ALARMS},
        )
        for epochs, images in ((20, 30), (20, 100), (150, 30))
    ),
]
