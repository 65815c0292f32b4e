"""The content of the page's sections for segmentation: charts, tables and pictures from collected numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import torch
from markupsafe import Markup
from numpy.typing import NDArray

from snellen.insight.proportions import percents
from snellen.insight.segmentation import MaskClassFigures, by_image
from snellen.insight.support import FEWEST_IMAGES
from snellen.reporting import by_class
from snellen.reporting.charts import Entry
from snellen.reporting.runs import image_path
from snellen.reporting.shared import Curve, in_both_parts
from snellen.tasks.segmentation.record import MaskSnapshot
from snellen.tasks.segmentation.report import masks
from snellen.tasks.segmentation.report.collect import CollectedMasks, MaskRun
from snellen.tasks.segmentation.task import confusion_counts

_EXAMPLES = 8
_EXAMPLE_SIDE = 200  # px
_LONGEST = 480  # px, of a picture's longer side
_ROOM = 6_500_000  # characters of all pictures
_MOST_NAMED = 12
_ALWAYS = 3  # images, however large their pictures are
CURVES = (
    ("mIoU", True, [Curve("validation_miou", ", validation", mark=True)]),
    in_both_parts("pixel accuracy", "pixel_accuracy", percent=True),
    in_both_parts("loss", "loss"),
)


@dataclass(frozen=True)
class MaskSections:
    """What segmentation.html.j2 uses in addition to what all pages have.

    colours: of each class, as the style sheet writes it. class_chart: (number of classes, chart of IoU).
    interval_of_class: of its IoU, or why there is none. fewest_images: for an interval.
    """

    colours: dict[str, str]
    class_chart: tuple[int, Markup] | None
    class_rows: list[by_class.ClassRow[MaskClassFigures]]
    interval_of_class: Callable[[MaskClassFigures], str]
    confusions: list[by_class.ConfusionView[MaskRun]]
    evolutions: list[MaskEvolution]
    datasets: list[by_class.Dataset[MaskRun]]
    fewest_images: int


def sections(collected: CollectedMasks) -> MaskSections:
    """What the template may use in addition to what all pages have."""
    runs, scored = collected.runs, collected.scored
    return MaskSections(
        colours=class_colours(runs),
        class_chart=by_class.class_chart(scored, _iou, "IoU"),
        class_rows=by_class.class_rows([run.by_class for run in scored], lambda figures: figures.share),
        interval_of_class=_interval_of_class,
        confusions=[
            by_class.confusion_view(run, run.confusion, shares=True) for run in scored if run.confusion is not None
        ],
        evolutions=evolutions(collected),
        datasets=mask_datasets(runs),
        fewest_images=FEWEST_IMAGES,
    )


def class_colours(runs: list[MaskRun]) -> dict[str, str]:
    """Each class's colour, as the style sheet writes it."""
    return {
        name: f"rgb({red} {green} {blue})"
        for run in runs
        for name, (red, green, blue) in zip(run.classes.names, run.classes.colours, strict=True)
    }


def _iou(run: MaskRun, name: str) -> Entry | None:
    figures = run.by_class.get(name)
    if figures is None or not math.isfinite(figures.iou):
        return None
    return Entry(run.colour, figures.iou, figures.iou_interval, f"{run.label}: {figures.share:.2%} of pixels")


def _interval_of_class(figures: MaskClassFigures) -> str:
    if not math.isfinite(figures.iou):
        return ""
    if figures.iou_interval is None:
        return "no interval" if figures.enough else "too few images"
    return percents(figures.iou_interval)


def mask_datasets(runs: list[MaskRun]) -> list[by_class.Dataset[MaskRun]]:
    """Each set of images once, with pictures under their masks, and the classes' shares of pixels."""
    return by_class.datasets(runs, _examples, _shares)


def _examples(run: MaskRun) -> list[str]:
    """Training images, evenly chosen, under their masks."""
    paths, truths = run.run.part("train")["path"], masks.TrueMasks(run.run)
    pictures = []
    for path in paths.iloc[:: max(1, -(-len(paths) // _EXAMPLES))]:
        mask = truths.of(path)
        if mask is None:
            continue
        picture = masks.overlaid(run.run.image(path), mask, run.classes.colours, _EXAMPLE_SIDE, run.bits("train"))
        if picture is not None:
            pictures.append(picture)
    return pictures


def _shares(view: MaskRun) -> list[tuple[str, float, float, float]]:
    """(class, share of the scored training pixels, of the validation pixels, of the largest class's)."""
    run = view.run
    sides = [run.data["per_class_pixels"][side] for side in ("train", "validation")]
    train, validation = ([pixels / max(1, sum(side)) for pixels in side] for side in sides)
    largest = max([*train, 1e-9])
    return [(name, a, b, a / largest) for name, a, b in zip(run.classes, train, validation, strict=True)]


@dataclass(frozen=True)
class View:
    """A prediction. score: mIoU of this image, NaN if unknown. labels, errors: data URLs."""

    epoch: int
    score: float
    labels: str
    errors: str | None


@dataclass(frozen=True)
class Line:
    """The predictions of one run for an image, by epoch. score: mIoU of the image at the chosen epoch."""

    run: MaskRun
    score: float
    views: list[View]


@dataclass(frozen=True)
class Scene:
    """An image. why: it was chosen, in a word. size: (height, width) of its pictures. photo, truth: data URLs."""

    name: str
    why: str
    size: tuple[int, int]
    photo: str | None
    truth: str | None
    lines: list[Line]

    @property
    def columns(self) -> int:
        """The number of columns of predictions."""
        return max(len(line.views) for line in self.lines)

    @property
    def weight(self) -> int:
        """The size of its pictures in characters."""
        pictures = [
            self.photo,
            self.truth,
            *(p for line in self.lines for v in line.views for p in (v.labels, v.errors)),
        ]
        return sum(len(picture) for picture in pictures if picture is not None)


@dataclass(frozen=True)
class MaskEvolution:
    """Scenes of runs that stored masks of the same images. chosen: shown first. kept: number of images stored."""

    runs: list[MaskRun]
    chosen: list[Scene]
    others: list[Scene]
    kept: int


def evolutions(collected: CollectedMasks) -> list[MaskEvolution]:
    """Of all runs together if they were scored on the same images, else of each run alone."""
    runs = [run for run in collected.scored if run.snapshots]
    groups = [runs] if collected.same_images else [[run] for run in runs]
    room = _ROOM // max(1, len(groups))
    drawn = (_evolution(group, room) for group in groups if group)
    return [evolution for evolution in drawn if evolution is not None]


def _evolution(runs: list[MaskRun], room: int) -> MaskEvolution | None:
    snapshots = {run.number: _three(run.snapshots) for run in runs}
    kept = set.intersection(*({int(row) for row in snapshots[run.number][-1].rows} for run in runs))
    scores = np.mean([run.validation_miou for run in runs], axis=0)
    chosen = choose(sorted(kept), scores, _named(runs))
    if not chosen:
        return None
    truths = masks.TrueMasks(runs[0].run)
    chosen_scenes: list[Scene] = []
    other_scenes: list[Scene] = []
    for row, why in chosen:
        scene = _scene(row, why, runs, snapshots, truths)
        room -= scene.weight
        if room < 0 and len(chosen_scenes) >= _ALWAYS:
            break
        (chosen_scenes if why else other_scenes).append(scene)
    return MaskEvolution(runs, chosen_scenes, other_scenes, len(kept))


def choose(kept: Sequence[int], scores: NDArray[np.float64], named: Sequence[int]) -> list[tuple[int, str]]:
    """(row, why it is shown): those that were named, the best, the median and the worst; then the others, best first.

    kept: rows whose masks are stored. scores: (N,) of all rows; those that are NaN come last.
    """
    ranked = sorted(kept, key=lambda row: (math.isnan(scores[row]), -scores[row]))
    finite = [row for row in ranked if math.isfinite(scores[row])]
    why: dict[int, str] = {row: "named" for row in named if row in kept}
    if finite:
        for row, word in ((finite[0], "best"), (finite[(len(finite) - 1) // 2], "median"), (finite[-1], "worst")):
            why.setdefault(row, word)
    return [*why.items(), *((row, "") for row in ranked if row not in why)]


def _named(runs: Sequence[MaskRun]) -> list[int]:
    """Rows of the images that the recipes name."""
    names = {name for run in runs for name in run.recipe.snapshots.names}
    paths = [PurePosixPath(path) for path in runs[0].validation_samples["path"]]
    return [row for row, path in enumerate(paths) if names & {str(path), path.name, path.stem}][:_MOST_NAMED]


def _three(snapshots: list[MaskSnapshot]) -> list[MaskSnapshot]:
    """The first, the one nearest to the middle, and the last."""
    middle = (snapshots[0].epoch + snapshots[-1].epoch) / 2
    nearest = min(range(len(snapshots)), key=lambda index: abs(snapshots[index].epoch - middle))
    return [snapshots[index] for index in sorted({0, nearest, len(snapshots) - 1})]


def _scene(
    row: int, why: str, runs: list[MaskRun], snapshots: dict[int, list[MaskSnapshot]], truths: masks.TrueMasks
) -> Scene:
    first = runs[0]
    path = str(first.validation_samples["path"].iloc[row])
    truth = truths.of(path)
    colours = first.run.data["colours"]
    lines = [
        Line(run, float(run.validation_miou[row]), [_view(s, row, truth, colours) for s in snapshots[run.number]])
        for run in runs
    ]
    last = masks.reduced(_mask(snapshots[first.number][-1], row), _LONGEST)
    size = (int(last.shape[0]), int(last.shape[1]))
    return Scene(
        PurePosixPath(path).name,
        why,
        size,
        masks.scene(image_path(first.run, first.validation_samples, row), size, first.bits()),
        None if truth is None else masks.mask_picture(masks.reduced(truth, _LONGEST), colours),
        lines,
    )


def _view(snapshot: MaskSnapshot, row: int, truth: masks.Mask | None, colours: Sequence[Sequence[int]]) -> View:
    mask = _mask(snapshot, row)
    small = masks.reduced(mask, _LONGEST)
    picture = masks.mask_picture(small, colours)
    if truth is None or truth.shape != mask.shape:
        return View(snapshot.epoch, math.nan, picture, None)
    predicted, true = (torch.from_numpy(labels)[None].long() for labels in (mask, truth))
    score = by_image(confusion_counts(predicted, true, len(colours)).numpy())[0][0]
    return View(snapshot.epoch, float(score), picture, masks.error_picture(small, masks.reduced(truth, _LONGEST)))


def _mask(snapshot: MaskSnapshot, row: int) -> masks.Mask:
    index = int(np.flatnonzero(snapshot.rows == row)[0])
    height, width = snapshot.sizes[index]
    return snapshot.masks[index, :height, :width]
