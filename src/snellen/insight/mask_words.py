"""Which classes a figure of masks covers, and why some have no interval, in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from snellen.insight.segmentation import AnyCounts, MaskFigures, PairedMasks, paired_masks
from snellen.insight.sentence import listed
from snellen.insight.support import FEWEST_IMAGES
from snellen.words import counted

_MOST_NAMED = 8


def over_classes(classes: Sequence[int], names: Sequence[str]) -> str:
    """The classes by name in a sentence, or the others if those are fewer and the names many.

    classes: numbers of some of the classes, at least one. names: of all of them.
    """
    others = [name for number, name in enumerate(names) if number not in classes]
    if len(classes) <= _MOST_NAMED:
        return listed([names[number] for number in classes])
    without = listed(others) if len(others) <= _MOST_NAMED else f"{len(others)} that are in too few images"
    return f"{len(classes)} classes, all but {without}"


def measured(classes: Sequence[int], present: Sequence[int], names: Sequence[str]) -> str:
    """What is compared: "mIoU", with the classes that it covers if others are present too."""
    return "mIoU" if set(present) <= set(classes) else f"mIoU over {over_classes(classes, names)}"


def named_test(
    counts_a: AnyCounts, counts_b: AnyCounts, groups: NDArray[np.int64] | None, names: Sequence[str]
) -> PairedMasks:
    """`paired_masks`, with its measure in words. names: of the classes."""
    test = paired_masks(counts_a, counts_b, groups)
    present = np.flatnonzero(counts_a.any((0, 2)) | counts_b.any((0, 2))).tolist()
    return replace(test, measure=measured(present if test.why_no_test else test.classes, present, names))


def why_no_interval(figures: MaskFigures, names: Sequence[str]) -> str | None:
    """Why the means over all classes have no interval, in words; None if they have one."""
    if figures.miou_interval is not None:
        return None
    if figures.why_no_interval is not None:
        return figures.why_no_interval
    # In truth or prediction, so that there is an IoU, but in the truth of too few images.
    rare = [name for name, c in zip(names, figures.classes, strict=True) if not math.isnan(c.iou) and not c.enough]
    subject = listed(rare) if len(rare) <= _MOST_NAMED else counted(len(rare), "class", "classes")
    return f"{subject} {'is' if len(rare) == 1 else 'are'} in too few images (fewer than {FEWEST_IMAGES})"
