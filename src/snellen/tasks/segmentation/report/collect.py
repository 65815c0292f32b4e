"""The numbers of a report of segmenters: from run directories, through the insight functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from snellen.data.masks.classes import ClassTable
from snellen.insight.confusion import Confusion, ranked
from snellen.insight.crossfit import best_by_miou, crossfitted
from snellen.insight.learning import why_masks_not_learnt
from snellen.insight.mask_words import named_test, over_classes, why_no_interval
from snellen.insight.proportions import Interval, percents
from snellen.insight.segmentation import (
    MaskClassFigures,
    MaskFigures,
    PairedMasks,
    by_image,
    counts_of,
    iou,
    mask_figures,
    mean_over_classes,
    miou,
    paired_masks,
)
from snellen.insight.without_leaked import WithoutLeaked, without_leaked
from snellen.reporting.collected import Collected, views
from snellen.reporting.headline import EpochChoice, choice_among, folds_of, scored_part
from snellen.reporting.runs import RunView
from snellen.run.directory import RunDirectory
from snellen.tasks.segmentation import record
from snellen.tasks.segmentation.recipe import SegmentationRecipe
from snellen.words import counted


@dataclass(frozen=True)
class MaskRun(RunView):
    """All figures of one segmentation run; None for what a run that stopped early does not have."""

    measure: ClassVar[str] = "mIoU"

    @cached_property
    def recipe(self) -> SegmentationRecipe:
        """The resolved recipe."""
        return record.recipe_of(self.run)

    @cached_property
    def classes(self) -> ClassTable:
        """Its classes, and how masks encode them."""
        return ClassTable.recorded(self.run.data)

    @cached_property
    def snapshots(self) -> list[record.MaskSnapshot]:
        """Predicted masks after several epochs."""
        return record.read_snapshots(self.run)

    @cached_property
    def predictions(self) -> record.MaskPredictions:
        """The pixel counts at the chosen epoch."""
        return mask_predictions(self.run)

    @cached_property
    def values(self) -> MaskValues:
        """The values it is judged by, image by image."""
        return mask_values(self.run, self.recipe.evaluation.choose)

    @property
    def counts(self) -> NDArray[np.int64]:
        """(N, C, 3) true positive, false positive, false negative pixels, the basis of figures and tests."""
        return self.values.counts

    @property
    def epoch_choice(self) -> EpochChoice | None:
        """How the kept epoch was chosen; None before any score."""
        return self.values.choice if self.scored else None

    @property
    def kept_score(self) -> float | None:
        """mIoU of the kept weights."""
        return miou(self.predictions.confusion) if self.scored else None

    @cached_property
    def figures(self) -> MaskFigures | None:
        """mIoU and the other figures."""
        if not self.scored:
            return None
        return mask_figures(self.counts, self.predictions.boundary, self.groups)

    @cached_property
    def validation_miou(self) -> NDArray[np.float64]:
        """(N,) mIoU of each validation image, which snapshots are about; NaN if nothing of it is scored."""
        return by_image(record.read_predictions(self.run, "validation").confusion)[0]

    @cached_property
    def by_class(self) -> dict[str, MaskClassFigures]:
        """The figures of each class, by its name; empty before any score."""
        return {} if self.figures is None else dict(zip(self.run.classes, self.figures.classes, strict=True))

    @cached_property
    def why_not_learnt(self) -> str | None:
        """See insight.learning."""
        if self.figures is None:
            return None
        interval, classes = self.figures.compared
        return why_masks_not_learnt(self.predictions.confusion, interval, self.run.classes, classes)

    @property
    def headline_figure(self) -> tuple[str, float, Interval | None] | None:
        """mIoU over all classes."""
        return None if self.figures is None else (self.measure, self.figures.miou, self.figures.miou_interval)

    @property
    def sentence(self) -> str:
        """The result in a sentence, for a page of this run alone."""
        figures = self.figures
        assert figures is not None
        start = (
            f"{self.label} reaches a mean IoU of {figures.miou:.1%} on {counted(figures.images, f'{self.part} image')}"
        )
        accuracy = f"{figures.pixel_accuracy:.1%} of the scored pixels are right."
        if figures.miou_interval is not None:
            return f"{start}, 95% interval {percents(figures.miou_interval)}; {accuracy}"
        others = "" if self.over_the_others is None else f"; {self.over_the_others}"
        return f"{start}, without an interval: {self.why_no_interval}{others}; {accuracy}"

    @property
    def why_no_interval(self) -> str | None:
        """Why the headline figure has no interval; None if it has one, or if there is no figure."""
        return None if self.figures is None else why_no_interval(self.figures, self.run.classes)

    @property
    def over_the_others(self) -> str | None:
        """The mIoU over the classes in enough images, with their names; None if all classes are."""
        common = None if self.figures is None else self.figures.common
        if common is None:
            return None
        interval = "" if common.miou_interval is None else f", 95% interval {percents(common.miou_interval)}"
        return f"over {over_classes(common.classes, self.run.classes)} {common.miou:.1%}{interval}"

    @property
    def compared(self) -> tuple[float, Interval | None]:
        """mIoU over the classes of a test, or over all if none is in enough images; its interval."""
        assert self.figures is not None
        over = self.figures if self.figures.common is None else self.figures.common
        return over.miou, over.miou_interval

    @cached_property
    def without_leaked(self) -> WithoutLeaked | None:
        """mIoU over all classes without leaked images."""
        if self.figures is None or not self.leaked.any() or self.leaked.all():
            return None
        clean, common = ~self.leaked, self.figures.common
        groups = None if self.groups is None else self.groups[clean]
        of_clean = mask_figures(self.counts[clean], self.predictions.boundary[clean], groups)
        interval = of_clean.miou_interval if common is None else None
        return without_leaked(self.counts, self.leaked, _miou_of_sums, interval, self.groups)

    @cached_property
    def confusion(self) -> Confusion | None:
        """The pixels of each class that are predicted as each class."""
        return ranked(self.predictions.confusion.sum(0)) if self.scored else None

    @property
    def pairs(self) -> pd.DataFrame:
        """Path and mask of each image."""
        return self.samples[["path", "mask"]]


class CollectedMasks(Collected[MaskRun]):
    """Everything that a report shows. same_images: whether the runs were scored on the same masks."""

    @property
    def measure(self) -> str:
        """What is compared: mIoU, with the names of the classes if some are in too few images for a test."""
        partly = [run for run in self.scored if run.figures is not None and run.figures.common is not None]
        if not self.same_images or not partly:
            return super().measure
        assert partly[0].figures is not None
        assert partly[0].figures.common is not None
        return f"mIoU over {over_classes(partly[0].figures.common.classes, partly[0].run.classes)}"


def collect(runs: Sequence[RunDirectory]) -> CollectedMasks:
    """Figures of runs, and their comparisons if they were scored on the same masks with the same classes."""
    figures = views(runs, MaskRun)
    first = figures[0]
    same = all(first.pairs.equals(other.pairs) and first.run.classes == other.run.classes for other in figures[1:])
    return CollectedMasks.of(figures, same, _test, _without_leaked)


def _test(a: MaskRun, b: MaskRun) -> PairedMasks:
    return named_test(a.counts, b.counts, a.groups, a.run.classes)


def _without_leaked(a: MaskRun, b: MaskRun) -> WithoutLeaked | None:
    leaked = a.leaked | b.leaked
    if not leaked.any() or leaked.all():
        return None
    of_a, of_b, groups = a.counts, b.counts, a.groups
    test = paired_masks(of_a[~leaked], of_b[~leaked], None if groups is None else groups[~leaked])
    classes = list(test.classes) or list(range(of_a.shape[1]))
    both = np.stack([of_a, of_b], axis=1)[:, :, classes]  # (N, 2, C, 3)
    return without_leaked(both, leaked, _difference_of_sums, test.interval, groups)


def _miou_of_sums(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    return mean_over_classes(iou(sums))


def _difference_of_sums(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    return _miou_of_sums(sums[:, 0]) - _miou_of_sums(sums[:, 1])


@dataclass(frozen=True)
class MaskValues:
    """Values of a segmentation run. counts: (N, C, 3) true positive, false positive and false negative pixels."""

    counts: NDArray[np.int64]
    choice: EpochChoice


def mask_predictions(run: RunDirectory) -> record.MaskPredictions:
    """The pixel counts on `scored_samples` with the kept weights."""
    return record.read_predictions(run, scored_part(run))


def mask_values(run: RunDirectory, choose: str | None) -> MaskValues:
    """Values of a scored run, in the order of `scored_samples`. choose: the recipe's rule for the kept epoch."""
    of_kept = counts_of(mask_predictions(run).confusion)
    if run.has_test or choose != "best":
        return MaskValues(of_kept, EpochChoice(False, False))
    counts, folds = record.by_epoch(run), folds_of(run)
    choice = choice_among(len(counts), folds)
    if not choice.is_crossfitted:
        return MaskValues(of_kept, choice)
    return MaskValues(crossfitted(counts, folds, best_by_miou(counts, folds)).astype(np.int64), choice)
