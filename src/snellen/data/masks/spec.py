"""Recipe fields of images with masks: the data, and their transforms in training and evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from snellen.data.augment.spec import AppearanceSpec, Pair, check_ordered
from snellen.data.bits import BITS_DESCRIPTION, CACHE_DESCRIPTION, DISK_CACHE_DESCRIPTION, DISK_CACHE_MIB
from snellen.data.listing import Pattern
from snellen.data.masks.classes import ClassTable, MaskClass
from snellen.spec import Spec

if TYPE_CHECKING:
    from snellen.data.masks.decode import MaskReading


_SIDES = range(2, 16385)


def _check_sides(value: object) -> object:
    if isinstance(value, list | tuple):
        if len(value) == 2 and all(type(side) is int and side in _SIDES for side in value):
            return tuple(value)
    elif value is None or (type(value) is int and value in _SIDES):
        return value
    raise ValueError(f"expected one number of pixels, two (height and width) or null; each {_SIDES[0]} to {_SIDES[-1]}")


Sides = Annotated[int | tuple[int, int] | None, BeforeValidator(_check_sides)]


class MaskEvaluationTransformSpec(Spec):
    """How images are transformed for evaluation and prediction. Scores are at the masks' original size."""

    resize: Sides = Field(
        None, description="Size to resize images to: the shorter side, or height and width. null: their original size."
    )
    multiple: int = Field(
        32, ge=1, le=1024, description="Images are padded, right and bottom, to a multiple of this many pixels."
    )


class MaskAugmentationSpec(AppearanceSpec):
    """Drawn for each image in each epoch, applied in this order: scale, crop, rotation, flips, colours, blur.

    Image and mask are transformed together; areas beyond an image get the mean colour and are not scored.
    """

    size: Sides = Field(
        None,
        description="Height and width of the crop that the network sees; one number for a square. null: whole images.",
    )
    resize: Sides = Field(
        None,
        description="Size to resize images and masks to before anything else: the shorter side, or height and width. "
        "null: their original size.",
    )
    scale: Pair = Field((1.0, 1.0), description="Smallest and largest factor of both sides, before the crop.")
    rotation: float = Field(0.0, ge=0, le=180, description="Rotation by up to this many degrees in either direction.")
    flip: float = Field(0.5, ge=0, le=1, description="Probability of a left-right flip.")
    vertical_flip: float = Field(0.0, ge=0, le=1, description="Probability of a vertical flip.")

    @field_validator("scale")
    @classmethod
    def _scale_ordered(cls, pair: Pair) -> Pair:
        return check_ordered(pair)

    @model_validator(mode="after")
    def _scale_is_sane(self) -> Self:
        if self.scale[0] < 0.1 or self.scale[1] > 10:
            raise ValueError(f"scale={self.scale}: expected factors from 0.1 to 10; to change all images use resize")
        return self


class MaskDataSpec(Spec):
    """How images and masks are found, interpreted and split."""

    validation_share: float = Field(
        0.15, gt=0, le=0.5, description="Share of the images used for validation, if the data come without a split."
    )
    fraction: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of the training images that is used, drawn with the recipe's seed; groups stay whole. "
        "Smaller shares are subsets of larger ones; the validation images stay the same.",
    )
    group: Pattern | None = Field(
        None,
        description="What ties images together (patient, video, field): a regular expression with one pair of "
        "parentheses on the image's path. Images of one group stay on one side of the split.",
    )
    image_pattern: Pattern | None = Field(
        None,
        description="Regular expression on images' file names, with one pair of parentheses around what they have in "
        r"common with their masks, as in (.+)_sat\.jpg. null: detected.",
    )
    mask_pattern: Pattern | None = Field(None, description=r"The same for masks, as in (.+)_mask\.png.")
    class_table: str | None = Field(
        None,
        description="File that lists the classes (name, index or colour, ignored or not), or land-cover. null: "
        "classes.txt or a CSV next to the images, else derived from the masks.",
    )
    classes: tuple[MaskClass, ...] = Field((), description="The classes themselves, instead of class_table.")
    tolerance: int | None = Field(
        None,
        ge=0,
        le=127,
        description="Largest difference, in each channel, of a mask's colour from a class's colour. null: 0, or 48 in "
        "a JPEG; for binarised land-cover colours 63, which a tenth of the pixels may exceed.",
    )
    unlisted: Literal["error", "ignore"] = Field(
        "error", description="What to do with values and colours that belong to no class: stop, or leave them unscored."
    )
    unreadable: Literal["error", "skip"] = Field(
        "error", description="What to do with pairs that cannot be decoded, or whose mask does not fit its image."
    )
    unpaired: Literal["error", "skip"] = Field(
        "error", description="What to do with images without a mask, masks without an image, and duplicates."
    )
    bits: int | None = Field(None, ge=8, le=16, description=BITS_DESCRIPTION)
    cache_mib: int = Field(8192, ge=0, description=CACHE_DESCRIPTION)
    disk_cache_mib: int = Field(DISK_CACHE_MIB, ge=0, description=DISK_CACHE_DESCRIPTION)

    def reading(self, table: ClassTable) -> MaskReading:
        """How masks of these classes are decoded."""
        from snellen.data.masks.decode import MaskReading

        return MaskReading(table, self.tolerance, self.unlisted)
