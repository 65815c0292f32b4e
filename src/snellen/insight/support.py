"""Which classes are in enough images for an interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.insight.groups import FEWEST as FEWEST_GROUPS
from snellen.insight.groups import only, sums_by_unit

FEWEST_IMAGES = 10  # in whose truth a class is: with fewer, no method's interval holds the truth in 95%


@dataclass(frozen=True)
class Support:
    """images: N. groups: G, None if images are not grouped. by_class: (C,) images with each class in their truth.

    enough: (C,) bool, whether these suffice for an interval. present: classes in the truth or the prediction.
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
        """Why there is no interval at all, in words; None if at least the pixel accuracy has one."""
        if self.groups is not None and self.groups < FEWEST_GROUPS:
            return only(self.groups, "group")
        if self.images < FEWEST_IMAGES:
            return only(self.images, "image")
        return None

    @property
    def why_none(self) -> str | None:
        """Why no mean over classes has an interval, not even over some of them; None if there is one."""
        if self.too_few is None and not self.enough.any():
            return f"no class is in {FEWEST_IMAGES} images" + ("" if self.groups is None else " and enough groups")
        return self.too_few


def support(counts: NDArray[np.generic], groups: NDArray[np.int64] | None = None) -> Support:
    """From pixels by image: counts (N, C, 3) of true positives, false positives, false negatives.

    groups: (N,). A class has enough images if it is in the truth of ten; with groups also in ten groups, or
    in every group if there are fewer, so that it keeps pixels whichever group is left out.
    """
    is_present = np.asarray(counts[..., [0, 2]].any(-1))  # (N, C)
    by_class = is_present.sum(0)
    enough = by_class >= FEWEST_IMAGES
    group_count = None
    if groups is not None:
        by_group = sums_by_unit(is_present, groups) > 0
        group_count = len(by_group)
        enough &= (by_group.sum(0) >= min(FEWEST_IMAGES, group_count)) & (group_count >= FEWEST_GROUPS)
    return Support(len(counts), group_count, by_class, enough, int(counts.any((0, 2)).sum()))
