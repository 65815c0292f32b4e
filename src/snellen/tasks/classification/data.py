"""TODO."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from snellen.tasks.choice import _SMALL_SIDE, Choice, _for_few_images, _median_side


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
