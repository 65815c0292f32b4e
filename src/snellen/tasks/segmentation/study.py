"""What a study needs from segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from snellen.data.masks.sources import MaskedSet
from snellen.insight.mask_words import over_classes
from snellen.insight.proportions import Interval
from snellen.insight.segmentation import iou, mask_figures, mean_over_classes, miou_by_unit, miou_degrees
from snellen.insight.support import support
from snellen.insight.without_leaked import WithoutLeaked, without_leaked
from snellen.models.segmenters.build import build_segmenter
from snellen.reporting.collected import mean_of_kept, reasons_not_learnt
from snellen.reporting.runs import RunView
from snellen.run.directory import RunDirectory
from snellen.tasks.kind import Judged, Sections
from snellen.tasks.segmentation.recipe import SegmentationRecipe
from snellen.tasks.segmentation.report.collect import CollectedMasks, MaskRun
from snellen.tasks.segmentation.report.sections import class_colours, evolutions, mask_datasets


def build_network(recipe: SegmentationRecipe, images: MaskedSet) -> None:
    """Builds the network once, with its initial weights, to find out whether that works."""
    build_segmenter(recipe.model, len(images.classes.names), recipe.seed)


def timed(recipe: SegmentationRecipe) -> SegmentationRecipe:
    """From scratch, on all images."""
    recipe = recipe.with_part("model", weights=None).with_part("data", fraction=1.0)
    return recipe.model_copy(update={"budget": None})


def judge(runs: Sequence[RunDirectory], left_out: NDArray[np.bool_] | None = None) -> Judged:
    """By the mIoU over the classes in enough images, the same for all settings, since they share the truth."""
    views = [MaskRun("", run, 0) for run in runs]
    groups, names = views[0].groups, runs[0].classes
    by_seed = np.stack([view.counts for view in views])  # (S, N, C, 3)
    of_one = views[0].compared[1]
    if left_out is not None:
        by_seed, groups = by_seed[:, ~left_out], None if groups is None else groups[~left_out]
        of_one = mask_figures(by_seed[0], groups=groups).compared[0]
    counts = by_seed[0]
    by_support = support(counts, groups)
    enough = np.flatnonzero(by_support.enough).tolist()
    return Judged(
        values=np.stack([miou_by_unit(of_seed, groups, enough or None) for of_seed in by_seed]),
        correct=None,
        images=len(counts),
        groups=groups,
        not_learnt=reasons_not_learnt(views),
        kept=mean_of_kept(views),
        over_classes=over_classes(enough, names) if 0 < len(enough) < by_support.present else None,
        too_few=by_support.why_none,
        of_one=of_one if len(runs) == 1 else None,
        degrees=miou_degrees(counts, groups, enough) if by_support.why_none is None else None,
    )


def score_without_leaked(
    runs: Sequence[RunDirectory], leaked: NDArray[np.bool_], interval: Interval | None
) -> WithoutLeaked | None:
    """The mean mIoU of the runs, over the classes that are in enough of the other images."""
    views = [MaskRun("", run, 0) for run in runs]
    counts, groups = np.stack([view.counts for view in views], axis=1), views[0].groups  # (N, S, C, 3)
    by_support = support(counts[~leaked, 0], None if groups is None else groups[~leaked])
    if by_support.enough.any():
        counts = counts[:, :, by_support.enough]

    def score(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(mean_over_classes(iou(sums)).mean(1))

    return without_leaked(counts, leaked, score, interval, groups)


def mistake(runs: Sequence[RunDirectory], row: int) -> NoReturn:
    """Not possible: masks are partly right, so `judge` gives no wrong images."""
    raise NotImplementedError("masks are partly right: there are no mistakes to count")


def sections(views: Sequence[RunView], most: int) -> Sections:
    """The masks of one run for each setting, of the first `most`, and its data."""
    runs = [view for view in views if isinstance(view, MaskRun)]
    collected = CollectedMasks(runs[:most], [], [], same_images=True)
    return Sections(
        template="masks.html.j2",
        title="Masks",
        examples="mask_examples.html.j2",
        styles=("masks.css",),
        scripts=("masks.js",),
        variables={
            "evolutions": evolutions(collected),
            "datasets": mask_datasets(runs[:1]),
            "colours": class_colours(runs),
        },
    )
