"""The fields of what images and their masks go through in training and where they are scored."""

from __future__ import annotations

from typing import Self

from pydantic import Field, field_validator, model_validator

from snellen.data.augment.spec import AppearanceSpec, Pair, check_ordered
from snellen.data.masks.resize import Sides
from snellen.spec import Spec


class MaskEvaluationTransformSpec(Spec):
    """How images are shown when they are scored or predicted. Scores are at the masks' own size."""

    resize: Sides = Field(
        None, description="What images are brought to: the shorter side, or height and width. null: their own size."
    )
    multiple: int = Field(
        32, ge=1, le=1024, description="Images are padded, right and below, to a multiple of this many pixels."
    )


class MaskAugmentationSpec(AppearanceSpec):
    """Drawn anew for each image and epoch, applied in this order: scale, crop, rotation, flips, colours, blur.

    Image and mask go through the same; what comes in from beyond an image is its mean colour, and is not scored.
    """

    size: Sides = Field(
        None,
        description="Height and width of the crop that the network sees; of a square, one number. null: whole images.",
    )
    resize: Sides = Field(
        None,
        description="What images and masks are brought to before anything else: the shorter side, or height and "
        "width. null: their own size.",
    )
    scale: Pair = Field((1.0, 1.0), description="Smallest and largest factor of both sides, before the crop.")
    rotation: float = Field(0.0, ge=0, le=180, description="Rotation by up to this many degrees, either way.")
    flip: float = Field(0.5, ge=0, le=1, description="Chance of a left-right flip.")
    vertical_flip: float = Field(0.0, ge=0, le=1, description="Chance of an upside-down flip.")

    @field_validator("scale")
    @classmethod
    def _scale_ordered(cls, pair: Pair) -> Pair:
        return check_ordered(pair)

    @model_validator(mode="after")
    def _scale_is_sane(self) -> Self:
        if self.scale[0] < 0.1 or self.scale[1] > 10:
            raise ValueError(f"scale={self.scale}: wanted factors between 0.1 and 10; to change all images use resize")
        return self
