"""TODO."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from snellen.tasks.choice import _FEWEST_STEPS, _SMALL_SIDE, Choice, _median_side


def choose_pretraining_recipe(paths: Sequence[Path]) -> Choice:
    """A recipe for learning from these images without labels, from their size and their number."""
    from snellen.recipe.load import load_for
    from snellen.tasks.pretraining.recipe import PretrainingRecipe

    name, side = "simclr-small", _median_side(paths)
    recipe = load_for(PretrainingRecipe, name, {})
    steps = max(1, len(paths) // recipe.batch_size)  # in an epoch; fewer images are one batch
    few = recipe.epochs * steps < _FEWEST_STEPS[name]
    fields: dict[str, Any] = {"epochs": math.ceil(_FEWEST_STEPS[name] / steps)} if few else {}
    if side <= _SMALL_SIDE:
        return Choice(name, f"the images are small (shorter side {side:.0f} px)", fields)
    larger = {"augmentation.size": 96, "evaluation.size": 96, "model.backbone": "resnet18"}
    return Choice(name, f"the images' shorter side is {side:.0f} px", larger | fields)
