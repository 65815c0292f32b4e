"""Changes of colour and sharpness, which move no pixel: the same for every task."""

from __future__ import annotations

from pydantic import Field, field_validator
from torch import Generator, Tensor

from snellen.data.augment.blur import blur
from snellen.data.augment.colour import grey, jitter
from snellen.spec import Spec

Pair = tuple[float, float]


def check_ordered(pair: Pair) -> Pair:
    """The pair itself. Raises ValueError unless both are above 0 and the first is not the larger."""
    if not 0 < pair[0] <= pair[1]:
        raise ValueError("wanted two numbers above 0, the smaller one first")
    return pair


class AppearanceSpec(Spec):
    """Drawn for each image, applied in this order."""

    jitter: tuple[float, float, float, float] = Field(
        (0.0, 0.0, 0.0, 0.0), description="Strength of changes in brightness, contrast, saturation, hue (at most 0.5)."
    )
    jitter_probability: float = Field(1.0, ge=0, le=1, description="Chance of these changes.")
    grey: float = Field(0.0, ge=0, le=1, description="Chance of losing all colour.")
    blur: float = Field(0.0, ge=0, le=1, description="Chance of a Gaussian blur.")
    blur_sigma: Pair = Field((0.1, 2.0), description="Smallest and largest deviation of the blur in pixels.")
    blur_kernel: int = Field(5, ge=3, le=101, description="Width of the blur's kernel in pixels, odd.")

    @field_validator("blur_sigma")
    @classmethod
    def _sigma_ordered(cls, pair: Pair) -> Pair:
        return check_ordered(pair)

    @field_validator("jitter")
    @classmethod
    def _strengths(cls, jitter: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        if min(jitter) < 0 or jitter[3] > 0.5:
            raise ValueError("wanted four numbers of at least 0, the last (hue) at most 0.5")
        return jitter

    @field_validator("blur_kernel")
    @classmethod
    def _odd(cls, width: int) -> int:
        if width % 2 == 0:
            raise ValueError("wanted an odd number")
        return width

    @property
    def changes_pixels(self) -> bool:
        """Whether anything is changed at all."""
        return self._jitters or self.grey > 0 or self.blur > 0

    @property
    def _jitters(self) -> bool:
        return any(self.jitter) and self.jitter_probability > 0


def change_appearance(images: Tensor, spec: AppearanceSpec, generator: Generator) -> Tensor:
    """Jitter, loss of colour, blur. images: (B, 3, H, W) float in [0, 1], changed itself; so they stay."""
    if spec._jitters:
        images = jitter(images, spec.jitter, spec.jitter_probability, generator)
    if spec.grey:
        images = grey(images, spec.grey, generator)
    if spec.blur:
        images = blur(images, spec.blur, spec.blur_sigma, spec.blur_kernel, generator)
    return images
