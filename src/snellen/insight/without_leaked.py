"""A score, or a difference of two, without the images that were also trained on; and how much of it these made up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.insight.groups import sums_by_unit
from snellen.insight.proportions import Interval, percents
from snellen.insight.sentence import points, signed, signed_range
from snellen.words import counted

Floats = NDArray[np.float64]
_DRAWS = 4000


@dataclass(frozen=True)
class WithoutLeaked:
    """leaked, images: images that are left out, and the others. value: over these, with its 95% interval if it has one.

    change: value minus that over all images, with its 95% interval.
    """

    leaked: int
    images: int
    value: float
    interval: Interval | None
    change: float
    change_interval: Interval

    @property
    def change_text(self) -> str:
        """How much less or more than over all images, in words."""
        return (
            f"{points(self.change)} {'less' if self.change <= 0 else 'more'} (95% interval of the change "
            f"{signed_range(self.change_interval)}, by resampling images)"
        )

    def of_run(self, label: str, measure: str, seen_before: str = "images it was trained on") -> str:
        """The sentence on a run. seen_before: what the leaked images are copies of."""
        bounds = "" if self.interval is None else f" (95% interval {percents(self.interval)})"
        return (
            f"Without the {counted(self.leaked, 'leaked image')}, copies of {seen_before}, {label} scores "
            f"{measure} {self.value:.1%}{bounds}, {self.change_text}."
        )

    def of_difference(self, a: str, b: str) -> str:
        """The sentence on the difference of two runs."""
        bounds = "" if self.interval is None else f" (95% interval of {a} − {b}: {signed_range(self.interval)})"
        ahead, behind = (a, b) if self.value >= 0 else (b, a)
        size = points(self.value)
        claim = f"{a} and {b} score the same" if size == points(0) else f"{ahead} is ahead of {behind} by {size}"
        return (
            f"Without the {counted(self.leaked, 'leaked image')}, {claim}{bounds}; the difference changes by "
            f"{signed(self.change)} points (95% interval {signed_range(self.change_interval)}, by resampling images)."
        )


def without_leaked(
    values: NDArray[np.generic],
    leaked: NDArray[np.bool_],
    score: Callable[[Floats], Floats],
    interval: Interval | None,
    groups: NDArray[np.int64] | None = None,
) -> WithoutLeaked | None:
    """None if no image is leaked, or all are.

    values: (N, …) numbers of each image. score: of (B, …) sums of these over images, (B,) scores. leaked: (N,).
    interval: of the score without the leaked images, from its own method. groups: (N,), None if images are not grouped.
    The change's interval holds 95% of its values in 4,000 samples of the images, or groups, with replacement (Efron
    1979): leaked images are drawn with the others.
    """
    if not leaked.any() or leaked.all():
        return None
    flat = values.reshape(len(values), -1).astype(np.float64)
    parts = np.concatenate([flat, flat * ~leaked[:, None]], axis=1)
    units, counts = np.unique(sums_by_unit(parts, groups), axis=0, return_counts=True)

    def change(sums: Floats) -> tuple[Floats, Floats]:
        over_all, clean = (part.reshape(-1, *values.shape[1:]) for part in np.split(sums, 2, axis=1))
        value = score(clean)
        return value, value - score(over_all)

    value, observed = change(parts.sum(0, keepdims=True))
    draws = np.random.default_rng(0).multinomial(counts.sum(), counts / counts.sum(), size=_DRAWS)
    changes = change(draws.astype(np.float64) @ units)[1]
    low, high = np.nanquantile(changes, [0.025, 0.975])
    return WithoutLeaked(
        leaked=int(leaked.sum()),
        images=int((~leaked).sum()),
        value=float(value[0]),
        interval=interval,
        change=float(observed[0]),
        change_interval=Interval(float(low), float(high)),
    )


def share_of(sums: Floats) -> Floats:
    """(B,) from (B, 2): the first sum over the second; NaN without images."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums[:, 0] / np.where(sums[:, 1] > 0, sums[:, 1], np.nan))
