"""What a study needs from classification."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from snellen.data.listing import ImageSet
from snellen.insight.proportions import Interval
from snellen.insight.settings import by_unit
from snellen.insight.without_leaked import WithoutLeaked, share_of, without_leaked
from snellen.models.classifier import build_classifier
from snellen.reporting.collected import mean_of_kept, reasons_not_learnt
from snellen.reporting.pictures import thumbnail
from snellen.reporting.runs import RunView, image_path
from snellen.reporting.shared import Picture
from snellen.run.directory import RunDirectory
from snellen.tasks.classification.recipe import Recipe
from snellen.tasks.classification.report.collect import RunFigures, class_predictions
from snellen.tasks.classification.report.sections import class_datasets, evolutions
from snellen.tasks.kind import Judged, Sections


def build_network(recipe: Recipe, images: ImageSet) -> None:
    """Builds the network once, with its initial weights, to find out whether that works."""
    build_classifier(recipe.model, len(images.classes), recipe.augmentation.size, recipe.seed)


def timed(recipe: Recipe) -> Recipe:
    """With a pass through the backbone in every step, even if features are extracted once."""
    recipe = recipe.with_part("model", weights=None, cached=False).with_part("data", fraction=1.0)
    return recipe.model_copy(update={"budget": None, "sweep": ()})


def judge(runs: Sequence[RunDirectory], left_out: NDArray[np.bool_] | None = None) -> Judged:
    """By the images that each run gets right."""
    views = [RunFigures("", run, 0) for run in runs]
    correct, groups = np.stack([view.values.correct for view in views]), views[0].groups
    if left_out is not None:
        correct, groups = correct[:, ~left_out], None if groups is None else groups[~left_out]
    return Judged(
        values=by_unit(correct.astype(np.float64), groups),
        correct=correct,
        images=correct.shape[1],
        groups=groups,
        not_learnt=reasons_not_learnt(views),
        kept=mean_of_kept(views),
    )


def score_without_leaked(
    runs: Sequence[RunDirectory], leaked: NDArray[np.bool_], interval: Interval | None
) -> WithoutLeaked | None:
    """The mean top-1 of the runs."""
    views = [RunFigures("", run, 0) for run in runs]
    correct = np.stack([view.values.correct for view in views]).mean(0)
    counts = np.column_stack([correct, np.ones(len(correct))])
    return without_leaked(counts, leaked, share_of, interval, views[0].groups)


def mistake(runs: Sequence[RunDirectory], row: int) -> Picture:
    """A picture of a scored image that most of these runs get wrong, with its class and their prediction."""
    view = RunFigures("", runs[0], 0)
    votes = np.stack([class_predictions(run).probabilities[row] for run in runs]).mean(0)
    predicted, truth = runs[0].classes[int(votes.argmax())], str(view.samples["class"].iloc[row])
    return Picture(
        picture=thumbnail(image_path(runs[0], view.samples, row), view.bits()),
        path=str(view.samples["path"].iloc[row]),
        truth=truth,
        predicted=predicted if predicted != truth else "another, by most seeds",
    )


def sections(views: Sequence[RunView], most: int) -> Sections:
    """The features of one run for each setting, of the first `most`, and its data."""
    runs = [view for view in views if isinstance(view, RunFigures)]
    return Sections(
        template="features.html.j2",
        title="Features",
        examples="class_examples.html.j2",
        styles=(),
        scripts=("features.js",),
        variables={"evolutions": evolutions(runs[:most]), "datasets": class_datasets(runs[:1])},
    )
