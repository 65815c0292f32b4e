"""What a study needs from segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import numpy as np

from snellen.data.masks.sources import MaskedSet
from snellen.insight.learning import why_masks_not_learnt
from snellen.insight.mask_words import over_classes
from snellen.insight.segmentation import mask_figures, miou, miou_by_unit, miou_degrees
from snellen.insight.support import support
from snellen.models.segmenters.build import build_segmenter
from snellen.reporting.headline import groups_of
from snellen.reporting.runs import RunView
from snellen.run.directory import RunDirectory
from snellen.tasks.kind import Judged, Sections
from snellen.tasks.segmentation.recipe import SegmentationRecipe
from snellen.tasks.segmentation.record import recipe_of
from snellen.tasks.segmentation.report.collect import CollectedMasks, MaskRun
from snellen.tasks.segmentation.report.evolution import evolutions
from snellen.tasks.segmentation.report.sections import class_colours, mask_datasets
from snellen.tasks.segmentation.values import mask_predictions, mask_values


def build_network(recipe: SegmentationRecipe, images: MaskedSet) -> None:
    """Builds the network once, with its initial weights, to find out whether that works."""
    build_segmenter(recipe.model, len(images.classes.names), recipe.seed)


def timed(recipe: SegmentationRecipe) -> SegmentationRecipe:
    """From scratch, on all images that there are."""
    model = recipe.model.model_copy(update={"weights": None})
    data = recipe.data.model_copy(update={"fraction": 1.0})
    return recipe.model_copy(update={"model": model, "data": data, "budget": None})


def judge(runs: Sequence[RunDirectory]) -> Judged:
    """By the mIoU over the classes in enough images, which are the same for all settings: the truth is one."""
    groups, names = groups_of(runs[0]), runs[0].classes
    judged = [mask_values(run, recipe_of(run).evaluation.choose) for run in runs]
    scored = [mask_predictions(run).confusion for run in runs]
    compared = [mask_figures(values.counts, None, groups).compared for values in judged]
    counts = judged[0].counts
    by_support = support(counts, groups)
    enough = np.flatnonzero(by_support.enough).tolist()
    reasons = [
        why_masks_not_learnt(confusion, interval, names, over)
        for confusion, (interval, over) in zip(scored, compared, strict=True)
    ]
    return Judged(
        values=np.stack([miou_by_unit(run.counts, groups, enough or None) for run in judged]),
        correct=None,
        images=len(counts),
        groups=groups,
        not_learnt=tuple(reason for reason in reasons if reason is not None),
        kept=float(np.mean([miou(run) for run in scored])) if any(run.choice.by_score for run in judged) else None,
        over_classes=over_classes(enough, names) if 0 < len(enough) < by_support.present else None,
        too_few=by_support.why_none,
        of_one=compared[0][0] if len(runs) == 1 else None,
        degrees=miou_degrees(counts, groups, enough) if by_support.why_none is None else None,
    )


def mistake(runs: Sequence[RunDirectory], row: int) -> NoReturn:
    """Images are right in part; `judge` has none that are wrong."""
    raise NotImplementedError("masks are right in part: there are no mistakes to count")


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
