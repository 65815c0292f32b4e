"""Which recipe, where the user names none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from PIL import Image

_SMALL_SIDE = 64
_LOOKED_AT = 200


def choose_recipe(paths: Sequence[Path], gpu: bool) -> tuple[str, str]:
    """A shipped recipe's name, and the reason in words, from the images' size and the hardware."""
    side = _median_side(paths)
    if side <= _SMALL_SIDE:
        return "airnet-scratch", f"the images are small (shorter side {side:.0f} px)"
    if gpu:
        return "finetune-large", f"the images' shorter side is {side:.0f} px and there is a GPU"
    return "finetune-lite", f"the images' shorter side is {side:.0f} px and there is no GPU"


def _median_side(paths: Sequence[Path]) -> float:
    sides = []
    for path in paths[:: max(1, len(paths) // _LOOKED_AT)]:
        try:
            with Image.open(path) as image:
                sides.append(min(image.size))
        except (OSError, ValueError, Image.DecompressionBombError):
            continue  # reported when it is decoded
    return median(sides) if sides else 224.0
