"""What a study needs from segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import numpy as np

from snellen.data.masks.sources import MaskedSet
from snellen.insight.mask_words import over_classes
from snellen.insight.segmentation import miou_by_unit, miou_degrees
from snellen.insight.support import support
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


def judge(runs: Sequence[RunDirectory]) -> Judged:
    """By the mIoU over the classes in enough images, the same for all settings, since they share the truth."""
    views = [MaskRun("", run, 0) for run in runs]
    counts, groups, names = views[0].counts, views[0].groups, runs[0].classes
    by_support = support(counts, groups)
    enough = np.flatnonzero(by_support.enough).tolist()
    return Judged(
        values=np.stack([miou_by_unit(view.counts, groups, enough or None) for view in views]),
        correct=None,
        images=len(counts),
        groups=groups,
        not_learnt=reasons_not_learnt(views),
        kept=mean_of_kept(views),
        over_classes=over_classes(enough, names) if 0 < len(enough) < by_support.present else None,
        too_few=by_support.why_none,
        of_one=views[0].compared[1] if len(runs) == 1 else None,
        degrees=miou_degrees(counts, groups, enough) if by_support.why_none is None else None,
    )


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
