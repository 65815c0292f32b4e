"""What images go through on their way to the network: evaluation one by one, training in batches on its device."""

from __future__ import annotations

import math
from typing import Literal, Self

import torch
from pydantic import Field, field_validator, model_validator
from torch import Generator, Tensor
from torch.nn import functional as F

from snellen.data.augment.appearance import AppearanceSpec, Pair, change_appearance, check_ordered
from snellen.data.augment.erasing import erase
from snellen.data.augment.framing import Interpolation, Mirrored, frame
from snellen.data.augment.geometry import (
    Views,
    central_windows,
    random_windows,
    resized_crops,
    shorter_to,
    squashed,
)
from snellen.data.augment.rotation import rotate
from snellen.data.batch import ImageList, RawBatch
from snellen.data.normalization import Normalization
from snellen.spec import Spec


class EvaluationTransformSpec(Spec):
    """How images are shown when they are scored or predicted."""

    size: int = Field(224, ge=2, le=8192, description="Side in pixels of the square that the network sees.")
    resize: int | None = Field(
        None, ge=2, le=16384, description="The shorter side is brought to this before the centre crop; null: to `size`."
    )
    interpolation: Interpolation = Field("bilinear", description="How it is resized; with antialiasing, either way.")
    squash: bool = Field(
        False, description="Bring both sides to `size`, giving up the aspect, in place of the centre crop."
    )

    @model_validator(mode="after")
    def _covers(self) -> Self:
        if self.resize is not None and self.resize < self.size:
            raise ValueError(f"resize={self.resize} is less than size={self.size}; give at least that, or null")
        if self.squash and self.resize is not None:
            raise ValueError("squash brings both sides to `size`; leave resize at null")
        return self


class AugmentationSpec(AppearanceSpec):
    """Drawn anew for each image and epoch, applied in this order: crop, rotation, flips, colours, blur, erasing.

    With crop_order=last: colours, blur, crop, rotation, flips, erasing.
    """

    size: int = Field(224, ge=2, le=8192, description="Side in pixels of the square that the network sees.")
    crop: Literal["resized", "random", "center"] = Field(
        "resized",
        description="resized: a box of random area and aspect, brought to `size`. random: `size` pixels at a random "
        "place. center: `size` pixels in the middle.",
    )
    resize: int | None = Field(
        None, ge=2, le=16384, description="For crop=random and center: the shorter side is brought to this first."
    )
    stored_size: int | Literal["auto"] | None = Field(
        "auto",
        description="For crop=resized: the shorter side in pixels that photographs are kept at in memory for crops to "
        "be cut from; larger ones are reduced once, antialiased, smaller ones stay. auto: size x sqrt(2 / scale[0]), "
        "from which crops keep 93 to 98% of the contrast of their finest detail. null: the photograph itself, which is "
        "torchvision's RandomResizedCrop to the pixel. Memory, and the time of a resize, grow with its square: of a "
        "photograph of 4:3 auto keeps 1.1 MB for size=224, scale=[0.35, 1] (536 px), 1.6 MB for size=128, "
        "scale=[0.08, 1] (640 px); null keeps 36 MB of 12 megapixels.",
    )
    crop_order: Literal["first", "last"] = Field(
        "first",
        description="Whether the crop comes before colours and blur, which then act on `size` pixels, or after them: "
        "they then act on the whole stored image, at its scale, which costs as much more time as it has more pixels.",
    )
    padding: int = Field(0, ge=0, le=1024, description="For crop=random: pixels added on each side before the crop.")
    interpolation: Interpolation = Field("bilinear", description="How it is resized; rotation is always bilinear.")
    padding_mode: Literal["zero", "reflect"] = Field("zero", description="What the padding shows: black or a mirror.")
    scale: Pair = Field((0.08, 1.0), description="For crop=resized: smallest and largest share of the area.")
    ratio: Pair = Field((3 / 4, 4 / 3), description="For crop=resized: smallest and largest width over height.")
    rotation: float = Field(0.0, ge=0, le=180, description="Rotation by up to this many degrees, either way.")
    flip: float = Field(0.5, ge=0, le=1, description="Chance of a left-right flip.")
    alternate_flip: bool = Field(
        False,
        description="In place of `flip`: half of the images is flipped in the first epoch, the other half in the "
        "second, and so on, so that two epochs show each image both ways (Jordan 2024, arXiv 2404.00498).",
    )
    vertical_flip: float = Field(0.0, ge=0, le=1, description="Chance of an upside-down flip.")
    erasing: float = Field(0.0, ge=0, le=1, description="Chance that a rectangle is blanked.")
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
            raise ValueError("wanted shares of the area, at most 1")
        return pair

    @model_validator(mode="after")
    def _covers(self) -> Self:
        padding = self.padding if self.crop == "random" else 0
        if padding >= self.size:
            raise ValueError(f"padding={padding} leaves crops without image; wanted less than size={self.size}")
        if self.crop != "resized" and self.resize is not None and self.resize + 2 * padding < self.size:
            raise ValueError(
                f"resize={self.resize} with padding={padding} is less than size={self.size}; "
                f"give resize={self.size - 2 * padding} or more, or null"
            )
        if isinstance(self.stored_size, int) and (self.crop != "resized" or self.stored_size < self.size):
            raise ValueError(f"stored_size={self.stored_size}: for crop=resized, and at least size={self.size}")
        return self

    @property
    def stored_side(self) -> int | None:
        """The shorter side in pixels that training images are kept at; None: as they are."""
        if self.crop != "resized":
            return self.resize
        if self.stored_size == "auto":
            return math.ceil(self.size * math.sqrt(2 / self.scale[0]))
        return self.stored_size


def evaluation_view(image: Tensor, spec: EvaluationTransformSpec) -> Tensor:
    """What the network is given of an image when it is scored or predicted, before normalisation.

    image: (3, h, w) uint8, the whole upright RGB image at its full size, on the CPU. Returns (3, S, S) uint8: one
    antialiased resize of the shorter side, rounded to whole grey levels, and the centre crop: torchvision's
    Resize(resize) and CenterCrop(size) of a tensor, to the bit (within a grey level for a strip so long that a resize
    makes more than 4 megapixels); or the resize of both sides (squash). Nothing else changes a pixel.
    """
    sizes = torch.tensor([image.shape[1:]])
    views = squashed(sizes, spec.size) if spec.squash else central_windows(sizes, spec.size, spec.resize or spec.size)
    raw = RawBatch(image[None], sizes, uniform=True)
    return frame(raw, views, spec.size, mirrored=None, reflect=False, interpolation=spec.interpolation)[0].byte()


def stored_image(image: Tensor, spec: AugmentationSpec) -> Tensor:
    """What is kept of a training image for crops: (3, h, w) uint8 with the shorter side at most `stored_side`.

    One antialiased resize of the image, or the image itself; nothing is enlarged.
    """
    side = spec.stored_side
    if side is None or min(image.shape[1:]) <= side:
        return image.contiguous()
    size = shorter_to(torch.tensor([image.shape[1:]]), side, side)[0].tolist()
    return F.interpolate(image[None], size=size, mode=spec.interpolation, antialias=True)[0].contiguous()


class Augmentation:
    """Training views of stored images, and evaluation views, as normalised float32 on `device`."""

    def __init__(self, spec: AugmentationSpec, normalization: Normalization, device: torch.device) -> None:
        self._spec = spec
        self._device = device
        self._mean = torch.tensor(normalization.mean, device=device)[:, None, None]
        self._std = torch.tensor(normalization.std, device=device)[:, None, None]

    def train(self, raw: RawBatch | ImageList, generator: Generator, *, epoch: int, rows: Tensor) -> Tensor:
        """(B, 3, S, S) views; parameters are drawn on the CPU, so they are the same for every device.

        raw: images as `stored_image` gives them. generator: of this batch alone. epoch: counted from 1.
        rows: (B,) int64, the images' numbers in the data.
        """
        spec = self._spec
        raw = self._on_device(raw)
        changed_first = spec.crop_order == "last" and spec.changes_pixels
        if changed_first:
            raw = self._changed(raw, generator)
        views = self._views(raw.sizes, generator)
        mirrored = self._mirrored(generator, epoch, rows)
        reflect = spec.crop == "random" and spec.padding_mode == "reflect"
        if spec.rotation == 0:
            images = frame(raw, views, spec.size, mirrored, reflect, spec.interpolation)
        else:
            degrees = (torch.rand(len(rows), generator=generator) * 2 - 1) * spec.rotation
            tiles = frame(raw, views, spec.size, None, reflect, spec.interpolation)
            images = rotate(tiles, views.shown, degrees, mirrored)
        images = self._normalised(images, white=255) if changed_first else self._coloured(images, generator)
        if spec.erasing:
            images = erase(images, spec.erasing, spec.erasing_scale, spec.erasing_ratio, generator)
        return images

    def evaluate(self, views: Tensor) -> Tensor:
        """(B, 3, S, S) of uint8 views as `evaluation_view` gives them."""
        return self._normalised(views.to(self._device, non_blocking=True), white=255)

    def _on_device(self, raw: RawBatch | ImageList) -> RawBatch | ImageList:
        if isinstance(raw, ImageList):
            return ImageList([image.to(self._device, non_blocking=True) for image in raw.images])
        return RawBatch(raw.pixels.to(self._device, non_blocking=True), raw.sizes.cpu(), raw.uniform)

    def _changed(self, raw: RawBatch | ImageList, generator: Generator) -> RawBatch | ImageList:
        """Colours and blur of whole images, one at a time, in whole grey levels again."""
        if isinstance(raw, ImageList):
            images = raw.images
        else:
            images = [image[:, :h, :w] for image, (h, w) in zip(raw.pixels, raw.sizes.tolist(), strict=True)]
        changed = [
            change_appearance(image[None].float().mul_(1 / 255), self._spec, generator)[0].mul_(255).round_().byte()
            for image in images
        ]
        if isinstance(raw, ImageList) or not raw.uniform:
            return ImageList(changed)
        return RawBatch(torch.stack(changed), raw.sizes, uniform=True)

    def _views(self, sizes: Tensor, generator: Generator) -> Views:
        spec = self._spec
        if spec.crop == "resized":
            # A box that is also turned is enlarged in the same resampling; to be reduced, it needs the antialiased one.
            return resized_crops(sizes, spec.size, spec.scale, spec.ratio, generator, enlarge=spec.rotation == 0)
        if spec.crop == "random":
            return random_windows(sizes, spec.size, spec.resize, spec.padding, generator)
        return central_windows(sizes, spec.size, spec.resize)

    def _mirrored(self, generator: Generator, epoch: int, rows: Tensor) -> Mirrored:
        draws = torch.rand(2, len(rows), generator=generator)
        sideways = draws[0] < self._spec.flip
        if self._spec.alternate_flip:
            sideways = (_coin(rows.cpu()) + epoch) % 2 == 1
        return Mirrored(sideways, draws[1] < self._spec.vertical_flip)

    def _coloured(self, images: Tensor, generator: Generator) -> Tensor:
        """Colour changes and blur, then normalisation. images: (B, 3, S, S) in [0, 255]."""
        if not self._spec.changes_pixels:
            return self._normalised(images, white=255)
        return self._normalised(change_appearance(images.float().mul_(1 / 255), self._spec, generator), white=1)

    def _normalised(self, images: Tensor, white: int) -> Tensor:
        return images.float().mul_(1 / (white * self._std)).sub_(self._mean / self._std)


def _coin(rows: Tensor) -> Tensor:
    """(B,) 0 or 1 for each image number, fixed for good, as if drawn by a fair coin."""
    mixed = rows * 0x2545F4914F6CDD1D
    mixed = (mixed ^ (mixed >> 29)) * 0x27D4EB2F165667C5
    return (mixed >> 41) & 1
