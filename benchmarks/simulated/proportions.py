"""What held before: Wilson's interval of a top-1, McNemar's test and Newcombe's interval of two runs."""

from __future__ import annotations

from functools import partial

import numpy as np
from simulated.cells import Band, Cell, Generator, Measures

from snellen.insight.paired import mcnemar
from snellen.insight.proportions import wilson


def _top1(generator: Generator, images: int, accuracy: float) -> Measures:
    right = int(generator.binomial(images, accuracy))
    interval = wilson(right, images)
    return {
        "covers": float(interval.low <= accuracy <= interval.high),
        "width": interval.high - interval.low,
        "zero width": float(interval.low == interval.high),
    }


def _pair(generator: Generator, images: int, accuracy: float, spread: float) -> Measures:
    """Two runs of the same accuracy: an image is right where its ease plus the run's own noise is above a threshold.

    spread: of the noise, relative to the ease's standard deviation.
    """
    from scipy.stats import norm

    ease = generator.standard_normal(images)
    threshold = float(norm.ppf(1 - accuracy)) * np.hypot(1, spread)
    a, b = (ease + spread * generator.standard_normal(images) > threshold for _ in range(2))
    test = mcnemar(a, b)
    low, high = test.interval.low, test.interval.high
    return {
        "covers": float(low <= 0 <= high),
        "falsely beats": float(test.p_value < 0.05),
        "width": high - low,
    }


CELLS = [
    *(
        Cell(
            "top-1",
            f"{images} images, accuracy {accuracy}",
            partial(_top1, images=images, accuracy=accuracy),
            bands,
            1000,
        )
        for images, accuracy, bands in (
            (50, 0.7, {"covers": Band(0.93, 0.97)}),
            (50, 0.99, {"covers": Band(0.90)}),
            (406, 0.9, {"covers": Band(0.93, 0.97)}),
            (5000, 0.55, {"covers": Band(0.94, 0.96)}),
        )
    ),
    *(
        Cell(
            "two runs",
            f"{images} images, accuracy {accuracy}",
            partial(_pair, images=images, accuracy=accuracy, spread=0.7),
            {"covers": Band(0.94), "falsely beats": Band(high=0.06)},
            150,
        )
        for images, accuracy in ((406, 0.7), (406, 0.99), (5000, 0.9))
    ),
]
