"""Changes of colour and sharpness, which move no pixels, shared by all tasks."""

from __future__ import annotations

from torch import Tensor

from snellen.data.augment.blur import blur
from snellen.data.augment.colour import grey, jitter
from snellen.data.augment.draws import Draws
from snellen.data.augment.spec import AppearanceSpec


def change_appearance(images: Tensor, spec: AppearanceSpec, draws: Draws) -> Tensor:
    """Jitter, greyscale, blur. images: (B, 3, H, W) float in [0, 1], modified in place; the range is kept."""
    if spec._jitters:
        images = jitter(images, spec.jitter, spec.jitter_probability, draws)
    if spec.grey:
        images = grey(images, spec.grey, draws)
    if spec.blur:
        images = blur(images, spec.blur, spec.blur_sigma, spec.blur_kernel, draws)
    return images
