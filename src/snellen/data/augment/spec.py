"""Recipe fields of the image transforms in training and evaluation."""

from __future__ import annotations

import math
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from snellen.spec import Spec

Interpolation = Literal["bilinear", "bicubic"]


Pair = tuple[float, float]


def check_ordered(pair: Pair) -> Pair:
    """The pair, unchanged. Raises ValueError unless both are above 0 and the first is not the larger."""
    if not 0 < pair[0] <= pair[1]:
        raise ValueError("expected two numbers above 0, the smaller one first")
    return pair


class AppearanceSpec(Spec):
    """Drawn for each image, applied in this order."""

    jitter: tuple[float, float, float, float] = Field(
        (0.0, 0.0, 0.0, 0.0), description="Strength of changes in brightness, contrast, saturation, hue (at most 0.5)."
    )
    jitter_probability: float = Field(1.0, ge=0, le=1, description="Probability of these changes.")
    grey: float = Field(0.0, ge=0, le=1, description="Probability of converting an image to grey.")
    blur: float = Field(0.0, ge=0, le=1, description="Probability of a Gaussian blur.")
    blur_sigma: Pair = Field((0.1, 2.0), description="Smallest and largest standard deviation of the blur in pixels.")
    blur_kernel: int = Field(5, ge=3, le=101, description="Width of the blur's kernel in pixels, odd.")

    @field_validator("blur_sigma")
    @classmethod
    def _sigma_ordered(cls, pair: Pair) -> Pair:
        return check_ordered(pair)

    @field_validator("jitter")
    @classmethod
    def _strengths(cls, jitter: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        if min(jitter) < 0 or jitter[3] > 0.5:
            raise ValueError("expected four numbers of at least 0, the last (hue) at most 0.5")
        return jitter

    @field_validator("blur_kernel")
    @classmethod
    def _odd(cls, width: int) -> int:
        if width % 2 == 0:
            raise ValueError("expected an odd number")
        return width

    @property
    def changes_pixels(self) -> bool:
        """Whether any pixel is changed at all."""
        return self._jitters or self.grey > 0 or self.blur > 0

    @property
    def _jitters(self) -> bool:
        return any(self.jitter) and self.jitter_probability > 0


class MixSpec(Spec):
    """If both are set, one is drawn for each batch, with equal probability. Label smoothing is loss.smoothing."""

    mixup: float = Field(0.0, ge=0, description="Mixup's alpha: the share of each image is Beta(alpha, alpha). 0: off.")
    cutmix: float = Field(0.0, ge=0, description="CutMix's alpha: the area of the pasted box is Beta. 0: off.")
    probability: float = Field(1.0, ge=0, le=1, description="Probability that a batch is mixed at all.")


class EvaluationTransformSpec(Spec):
    """How images are transformed for evaluation and prediction."""

    size: int = Field(224, ge=2, le=8192, description="Side in pixels of the square that the network sees.")
    resize: int | None = Field(
        None, ge=2, le=16384, description="The shorter side is resized to this before the centre crop; null: to `size`."
    )
    interpolation: Interpolation = Field("bilinear", description="Filter of the resize, always with antialiasing.")
    squash: bool = Field(
        False, description="Resize both sides to `size`, ignoring the aspect ratio, instead of the centre crop."
    )

    @model_validator(mode="after")
    def _covers(self) -> Self:
        if self.resize is not None and self.resize < self.size:
            raise ValueError(f"resize={self.resize} is less than size={self.size}; give at least that, or null")
        if self.squash and self.resize is not None:
            raise ValueError("squash resizes both sides to `size`; leave resize at null")
        return self


class AugmentationSpec(AppearanceSpec):
    """Drawn for each image in each epoch, applied in this order: crop, rotation, flips, colours, blur, erasing.

    With crop_order=last: colours, blur, crop, rotation, flips, erasing.
    """

    size: int = Field(224, ge=2, le=8192, description="Side in pixels of the square that the network sees.")
    crop: Literal["resized", "random", "center"] = Field(
        "resized",
        description="resized: a box of random area and aspect ratio, resized to `size`. random: `size` pixels at a "
        "random position. center: `size` pixels in the centre.",
    )
    resize: int | None = Field(
        None, ge=2, le=16384, description="For crop=random and center: the shorter side is resized to this first."
    )
    stored_size: int | Literal["auto"] | None = Field(
        "auto",
        description="For crop=resized: the shorter side in pixels of the stored photographs that crops are cut from; "
        "larger ones are reduced once, antialiased; smaller ones are kept. auto: size x sqrt(2 / scale[0]), whose "
        "crops keep 93 to 98% of the contrast of their finest detail. null: the original photograph, which matches "
        "torchvision's RandomResizedCrop to the pixel. Memory, and the time of a resize, grow with its square: for a "
        "4:3 photograph auto stores 1.1 MB with size=224, scale=[0.35, 1] (536 px), 1.6 MB with size=128, "
        "scale=[0.08, 1] (640 px); null stores 36 MB for 12 megapixels.",
    )
    crop_order: Literal["first", "last"] = Field(
        "first",
        description="Whether the crop comes before colours and blur, which then act on `size` pixels, or after them, "
        "so that they act on the whole stored image, at its scale; their time grows with its number of pixels.",
    )
    padding: int = Field(0, ge=0, le=1024, description="For crop=random: pixels added on each side before the crop.")
    interpolation: Interpolation = Field("bilinear", description="Filter of the resize; rotation is always bilinear.")
    padding_mode: Literal["zero", "reflect"] = Field(
        "zero", description="Content of the padding: black, or the image reflected."
    )
    scale: Pair = Field((0.08, 1.0), description="For crop=resized: smallest and largest share of the area.")
    ratio: Pair = Field((3 / 4, 4 / 3), description="For crop=resized: smallest and largest width over height.")
    rotation: float = Field(0.0, ge=0, le=180, description="Rotation by up to this many degrees in either direction.")
    flip: float = Field(0.5, ge=0, le=1, description="Probability of a left-right flip.")
    alternate_flip: bool = Field(
        False,
        description="Instead of `flip`: half of the images are flipped in the first epoch, the other half in the "
        "second, and so on, so that two epochs contain each image both ways (Jordan 2024, arXiv 2404.00498).",
    )
    vertical_flip: float = Field(0.0, ge=0, le=1, description="Probability of a vertical flip.")
    erasing: float = Field(0.0, ge=0, le=1, description="Probability that a rectangle is blanked.")
    erasing_scale: Pair = Field((0.02, 0.33), description="Smallest and largest share of the area that is blanked.")
    erasing_ratio: Pair = Field((0.3, 3.3), description="Smallest and largest height over width of the rectangle.")

    @field_validator("scale", "ratio", "erasing_scale", "erasing_ratio")
    @classmethod
    def _ordered(cls, pair: Pair) -> Pair:
        return check_ordered(pair)

    @field_validator("scale", "erasing_scale")
    @classmethod
    def _shares(cls, pair: Pair) -> Pair:
        if pair[1] > 1:
            raise ValueError("expected shares of the area, at most 1")
        return pair

    @model_validator(mode="after")
    def _covers(self) -> Self:
        padding = self.padding if self.crop == "random" else 0
        if padding >= self.size:
            raise ValueError(f"padding={padding} allows crops without any image; expected less than size={self.size}")
        if self.crop != "resized" and self.resize is not None and self.resize + 2 * padding < self.size:
            raise ValueError(
                f"resize={self.resize} with padding={padding} is less than size={self.size}; "
                f"give resize={self.size - 2 * padding} or more, or null"
            )
        if isinstance(self.stored_size, int) and (self.crop != "resized" or self.stored_size < self.size):
            raise ValueError(f"stored_size={self.stored_size}: needs crop=resized, and at least size={self.size}")
        return self

    @property
    def stored_side(self) -> int | None:
        """The shorter side in pixels of the stored training images; None: their original size."""
        if self.crop != "resized":
            return self.resize
        if self.stored_size == "auto":
            return math.ceil(self.size * math.sqrt(2 / self.scale[0]))
        return self.stored_size
