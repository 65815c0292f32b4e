"""The recipe: its parts put together. Each part's own type lives beside the code that reads it."""

from __future__ import annotations

from snellen.tasks.classification.recipe import Recipe
from snellen.tasks.pretraining.recipe import _LOOKS, PretrainingRecipe
from snellen.tasks.segmentation.recipe import SegmentationRecipe

ImageRecipe = Recipe | PretrainingRecipe
AnyRecipe = Recipe | PretrainingRecipe | SegmentationRecipe


def scored_epochs(recipe: AnyRecipe) -> set[int]:
    """The epochs, counted from 1, that end with a score: every so many, and the last.

    Of a pretraining also those whose features are kept, because looking at them costs as much as a score.
    """
    labelled = isinstance(recipe, PretrainingRecipe) and recipe.evaluation.data is not None
    every = recipe.evaluation.every or (max(1, recipe.epochs // _LOOKS) if labelled else 1)
    scored = {*range(every, recipe.epochs + 1, every), recipe.epochs}
    return scored | recipe.snapshots.due(recipe.epochs) if labelled else scored
