"""TODO."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from snellen.data.decode import UnreadableImageError, kind_and_size

_SMALL_SIDE = 64


_LOOKED_AT = 200


_FEWEST_STEPS = {
    "airnet-scratch": 1500,
    "finetune-lite": 400,
    "finetune-large": 600,
    "segment-lite": 800,
    "segment-large": 3000,
    "simclr-small": 2000,
}


@dataclass(frozen=True)
class Choice:
    """name: of a shipped recipe. reason: in words. fields: what of it is set for so few images, by dotted key."""

    name: str
    reason: str
    fields: dict[str, Any]


def _for_few_images(name: str, images: int) -> dict[str, Any]:
    """Smaller batches and more epochs, where the recipe's own would be too few steps to learn anything.

    From scratch the learning rate goes down with the batch, in proportion (Goyal et al. 2017, arXiv 1706.02677).
    """
    from snellen.recipe.load import load_recipe

    recipe = load_recipe(name)
    wanted = _FEWEST_STEPS[name]
    if recipe.epochs * images // recipe.batch_size >= wanted:
        return {}
    fields: dict[str, Any] = {}
    batch = recipe.batch_size
    if name == "airnet-scratch":
        batch = min(batch, max(32, 2 ** int(math.log2(max(1, images / 25)))))
        fields = {"batch_size": batch, "optimizer.lr": recipe.optimizer.lr * batch / recipe.batch_size}
    return fields | {"epochs": max(recipe.epochs, math.ceil(wanted * batch / max(1, images)))}


def _median_side(paths: Sequence[Path]) -> float:
    sides = []
    for path in paths[:: max(1, len(paths) // _LOOKED_AT)]:
        try:
            sides.append(min(kind_and_size(path)[1:]))
        except UnreadableImageError:
            continue  # reported when it is decoded
    return median(sides) if sides else 224.0
