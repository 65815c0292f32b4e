"""What images go through on their way to the network, in batches, on the training device."""

from __future__ import annotations

from typing import Literal, Self

import torch
from pydantic import Field, field_validator, model_validator
from torch import Generator, Tensor

from snellen.data.augment.appearance import AppearanceSpec, Pair, change_appearance, check_ordered
from snellen.data.augment.erasing import erase
from snellen.data.augment.framing import Interpolation, Mirrored, frame
from snellen.data.augment.geometry import Views, central_windows, random_windows, resized_crops, squashed
from snellen.data.augment.rotation import rotate
from snellen.data.batch import RawBatch
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
    """Drawn anew for each image and epoch, applied in this order: crop, rotation, flips, colours, blur, erasing."""

    size: int = Field(224, ge=2, le=8192, description="Side in pixels of the square that the network sees.")
    crop: Literal["resized", "random", "center"] = Field(
        "resized",
        description="resized: a box of random area and aspect, brought to `size`. random: `size` pixels at a random "
        "place. center: `size` pixels in the middle.",
    )
    resize: int | None = Field(
        None, ge=2, le=16384, description="For crop=random and center: the shorter side is brought to this first."
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
        return self


class Augmentation:
    """Training and scoring views of raw images, as normalised float32 on `device`."""

    def __init__(
        self,
        spec: AugmentationSpec,
        evaluation: EvaluationTransformSpec,
        normalization: Normalization,
        device: torch.device,
    ) -> None:
        self._spec = spec
        self._evaluation = evaluation
        self._device = device
        self._mean = torch.tensor(normalization.mean, device=device)[:, None, None]
        self._std = torch.tensor(normalization.std, device=device)[:, None, None]

    def train(self, raw: RawBatch, generator: Generator, *, epoch: int, rows: Tensor) -> Tensor:
        """(B, 3, S, S) views; parameters are drawn on the CPU, so they are the same for every device.

        generator: of this batch alone. epoch: counted from 1. rows: (B,) int64, the images' numbers in the data.
        """
        spec = self._spec
        raw = RawBatch(raw.pixels.to(self._device, non_blocking=True), raw.sizes.cpu(), raw.uniform)
        views = self._views(raw.sizes, generator)
        mirrored = self._mirrored(generator, epoch, rows)
        reflect = spec.crop == "random" and spec.padding_mode == "reflect"
        if spec.rotation == 0:
            images = frame(raw, views, spec.size, mirrored, reflect, spec.interpolation)
        else:
            degrees = (torch.rand(len(rows), generator=generator) * 2 - 1) * spec.rotation
            tiles = frame(raw, views, spec.size, None, reflect, spec.interpolation)
            images = rotate(tiles, views.shown, degrees, mirrored)
        images = self._coloured(images, generator)
        if spec.erasing:
            images = erase(images, spec.erasing, spec.erasing_scale, spec.erasing_ratio, generator)
        return images

    def evaluate(self, raw: RawBatch) -> Tensor:
        """(B, 3, S, S) views for scoring: shorter side resized with antialiasing, centre crop; or squashed."""
        spec = self._evaluation
        raw = RawBatch(raw.pixels.to(self._device, non_blocking=True), raw.sizes.cpu(), raw.uniform)
        if spec.squash:
            views = squashed(raw.sizes, spec.size)
        else:
            views = central_windows(raw.sizes, spec.size, spec.resize or spec.size)
        shown = frame(raw, views, spec.size, mirrored=None, reflect=False, interpolation=spec.interpolation)
        return self._normalised(shown, white=255)

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
