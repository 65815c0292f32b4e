"""Kinds of settings, fixed by their recipes before any run: how much of the network is trained."""

from __future__ import annotations

from snellen.tasks.classification.recipe import Recipe
from snellen.tasks.segmentation.recipe import SegmentationRecipe

WHOLE_NETWORK, HEAD_ONLY = "whole network trained", "head only"


def kind_of_training(recipe: Recipe | SegmentationRecipe) -> str:
    """How much of the network is trained, which decides how much another seed changes."""
    return HEAD_ONLY if recipe.model.freeze else WHOLE_NETWORK


def seeds_by_default(recipe: Recipe | SegmentationRecipe) -> tuple[int, ...]:
    """Where the user has given none: five for a head on features that are extracted once, which takes seconds."""
    cheap = isinstance(recipe, Recipe) and recipe.model.cached
    return tuple(range(5 if cheap else 3))
