"""Which classes are in enough images for an interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.insight.groups import FEWEST as FEWEST_GROUPS
from snellen.insight.groups import sums_by_unit

FEWEST_IMAGES = 10  # in whose truth a class is: with fewer, no method's interval holds the truth in 95%


@dataclass(frozen=True)
class Support:
    """images: N. groups: G, None where images stand alone. by_class: (C,) images in whose truth each class is.

    enough: (C,) bool, whether these are enough for an interval. present: classes in the truth or the prediction.
    """

    images: int
    groups: int | None
    by_class: NDArray[np.int64]
    enough: NDArray[np.bool_]
    present: int

    @property
    def units(self) -> int:
        """What is drawn independently: groups, or images."""
        return self.images if self.groups is None else self.groups

    @property
    def too_few(self) -> str | None:
        """Why there is no interval of anything, in words; None where there is one at least of the pixel accuracy."""
        if self.groups is not None and self.groups < FEWEST_GROUPS:
            return "only one group" if self.groups == 1 else f"only {self.groups} groups"
        if self.images < FEWEST_IMAGES:
            return "only one image" if self.images == 1 else f"only {self.images} images"
        return None

    @property
    def why_none(self) -> str | None:
        """Why there is no interval of a mean over classes, not even over some of them; None where there is one."""
        if self.too_few is None and not self.enough.any():
            return f"no class is in {FEWEST_IMAGES} images" + ("" if self.groups is None else " and groups enough")
        return self.too_few


def support(counts: NDArray[np.generic], groups: NDArray[np.int64] | None = None) -> Support:
    """Counts of pixels by image tell it: counts (N, C, 3) of true positives, false positives, false negatives.

    groups: (N,). A class has enough images where it is in the truth of ten; of images in groups also of ten groups, or
    of every group where there are fewer, so that leaving one out never leaves it without a pixel.
    """
    there = np.asarray(counts[..., [0, 2]].any(-1))  # (N, C)
    by_class = there.sum(0)
    enough = by_class >= FEWEST_IMAGES
    number = None
    if groups is not None:
        by_group = sums_by_unit(there, groups) > 0
        number = len(by_group)
        enough &= (by_group.sum(0) >= min(FEWEST_IMAGES, number)) & (number >= FEWEST_GROUPS)
    return Support(len(counts), number, by_class, enough, int(counts.any((0, 2)).sum()))
