"""Kinds of settings, fixed by their recipes before any run: how much of the network is trained."""

from __future__ import annotations

from snellen.engine.recipe import CommonRecipe

WHOLE_NETWORK, HEAD_ONLY = "whole network trained", "head only"


def kind_of_training(recipe: CommonRecipe) -> str:
    """How much of the network is trained, which determines how much another seed changes the result."""
    return HEAD_ONLY if recipe.trains_head_only else WHOLE_NETWORK


def seeds_by_default(recipe: CommonRecipe) -> tuple[int, ...]:
    """The default: five for a head on features extracted once, which takes seconds, otherwise three."""
    return tuple(range(5 if recipe.trains_on_features else 3))
