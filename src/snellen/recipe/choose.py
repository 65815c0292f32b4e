"""Which recipe, where the user names none."""

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


def choose_recipe(paths: Sequence[Path], gpu: bool) -> Choice:
    """A recipe for these training images, from their size, their number and the hardware."""
    side = _median_side(paths)
    if side <= _SMALL_SIDE:
        name, reason = "airnet-scratch", f"the images are small (shorter side {side:.0f} px)"
    elif gpu:
        name, reason = "finetune-large", f"the images' shorter side is {side:.0f} px and there is a GPU"
    else:
        name, reason = "finetune-lite", f"the images' shorter side is {side:.0f} px and there is no GPU"
    return Choice(name, reason, _for_few_images(name, len(paths)))


def choose_segmentation_recipe(paths: Sequence[Path], gpu: bool) -> Choice:
    """A recipe for these training images with masks, from their size, their number and the hardware."""
    from snellen.recipe.load import load_for
    from snellen.recipe.schema import SegmentationRecipe

    name = "segment-large" if gpu else "segment-lite"
    reason = f"the images have masks and there is {'a' if gpu else 'no'} GPU"
    fields = _for_few_images(name, len(paths))
    side, recipe = _median_side(paths), load_for(SegmentationRecipe, name, {})
    if "epochs" in fields:
        # Short epochs need no score each.
        fields["evaluation.every"] = max(recipe.evaluation.every, fields["epochs"] // recipe.epochs)
    if isinstance(recipe.augmentation.resize, int) and side < recipe.augmentation.resize:  # small images stay small
        fields |= {"augmentation.resize": None, "evaluation.resize": None}
        crop = max(32, 32 * round(side / 32))
        if isinstance(recipe.augmentation.size, int) and crop < recipe.augmentation.size:
            fields["augmentation.size"] = crop
    return Choice(name, reason, fields)


def choose_pretraining_recipe(paths: Sequence[Path]) -> Choice:
    """A recipe for learning from these images without labels, from their size and their number."""
    from snellen.recipe.load import load_for
    from snellen.recipe.schema import PretrainingRecipe

    name, side = "simclr-small", _median_side(paths)
    recipe = load_for(PretrainingRecipe, name, {})
    steps = max(1, len(paths) // recipe.batch_size)  # in an epoch; fewer images are one batch
    few = recipe.epochs * steps < _FEWEST_STEPS[name]
    fields: dict[str, Any] = {"epochs": math.ceil(_FEWEST_STEPS[name] / steps)} if few else {}
    if side <= _SMALL_SIDE:
        return Choice(name, f"the images are small (shorter side {side:.0f} px)", fields)
    larger = {"augmentation.size": 96, "evaluation.size": 96, "model.backbone": "resnet18"}
    return Choice(name, f"the images' shorter side is {side:.0f} px", larger | fields)


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
