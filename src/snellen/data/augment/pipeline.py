"""What images go through on their way to the network, in batches, on the training device."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, field_validator
from torch import Generator, Tensor

from snellen.data.augment.colour import blur, erase, grey, jitter
from snellen.data.augment.geometry import crop_boxes, resample, resized_crop_boxes, shift_and_mirror
from snellen.data.batch import RawBatch
from snellen.data.normalization import Normalization
from snellen.spec import Spec

Pair = tuple[float, float]


class EvaluationTransformSpec(Spec):
    """How images are shown when they are scored or predicted."""

    size: int = Field(224, ge=1, le=8192, description="Side in pixels of the square that the network sees.")
    resize: int | None = Field(
        None, ge=1, le=16384, description="The shorter side is brought to this before the centre crop; null: to `size`."
    )
    interpolation: Literal["bilinear", "bicubic"] = Field("bilinear", description="With antialiasing, either way.")


class AugmentationSpec(Spec):
    """Drawn anew for each image and epoch, applied in this order: crop, rotation, flips, colours, blur, erasing."""

    size: int = Field(224, ge=1, le=8192, description="Side in pixels of the square that the network sees.")
    crop: Literal["resized", "random", "center"] = Field(
        "resized",
        description="resized: a box of random area and aspect, brought to `size`. random: `size` pixels at a random "
        "place. center: `size` pixels in the middle.",
    )
    resize: int | None = Field(
        None, ge=1, le=16384, description="For crop=random and center: the shorter side is brought to this first."
    )
    padding: int = Field(0, ge=0, le=1024, description="For crop=random: pixels added on each side before the crop.")
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
    jitter: tuple[float, float, float, float] = Field(
        (0.0, 0.0, 0.0, 0.0), description="Strength of changes in brightness, contrast, saturation, hue (at most 0.5)."
    )
    jitter_probability: float = Field(1.0, ge=0, le=1, description="Chance of these changes.")
    grey: float = Field(0.0, ge=0, le=1, description="Chance of losing all colour.")
    blur: float = Field(0.0, ge=0, le=1, description="Chance of a Gaussian blur.")
    blur_sigma: Pair = Field((0.1, 2.0), description="Smallest and largest deviation of the blur in pixels.")
    blur_kernel: int = Field(5, ge=3, le=101, description="Width of the blur's kernel in pixels, odd.")
    erasing: float = Field(0.0, ge=0, le=1, description="Chance that a rectangle is blanked.")
    erasing_scale: Pair = Field((0.02, 0.33), description="Smallest and largest share of the area that is blanked.")
    erasing_ratio: Pair = Field((0.3, 3.3), description="Smallest and largest height over width of the rectangle.")

    @field_validator("scale", "ratio", "blur_sigma", "erasing_scale", "erasing_ratio")
    @classmethod
    def _ordered(cls, pair: Pair) -> Pair:
        if not 0 < pair[0] <= pair[1]:
            raise ValueError("wanted two numbers above 0, the smaller one first")
        return pair

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
        std = torch.tensor(normalization.std, device=device)[:, None, None]
        self._factor = 1 / (255 * std)
        self._offset = torch.tensor(normalization.mean, device=device)[:, None, None] / std

    def train(self, raw: RawBatch, generator: Generator, *, epoch: int, rows: Tensor) -> Tensor:
        """(B, 3, S, S) views; parameters are drawn on the CPU, so they are the same for every device.

        generator: of this batch alone. epoch: counted from 1. rows: (B,) int64, the images' numbers in the data.
        """
        spec = self._spec
        raw = RawBatch(raw.pixels.to(self._device, non_blocking=True), raw.sizes.cpu(), raw.uniform)
        if spec.crop == "resized":
            boxes = resized_crop_boxes(raw.sizes, spec.scale, spec.ratio, generator)
        else:
            centre = spec.crop == "center"
            boxes = crop_boxes(raw.sizes, spec.size, spec.resize, 0 if centre else spec.padding, centre, generator)
        mirrored = self._mirrored(generator, epoch, rows)
        degrees = (torch.rand(len(rows), generator=generator) * 2 - 1) * spec.rotation
        reflect = spec.padding_mode == "reflect"
        same_scale = bool((boxes.height == spec.size).all() and (boxes.width == spec.size).all())
        if same_scale and spec.rotation == 0:
            images = shift_and_mirror(raw, boxes, spec.size, mirrored, reflect)
        else:
            images = resample(raw, boxes, spec.size, mirrored, degrees, reflect)
        return self._coloured(images, generator)

    def evaluate(self, raw: RawBatch) -> Tensor:
        """(B, 3, S, S) views for scoring: shorter side resized with antialiasing, centre crop."""
        pixels = raw.pixels.to(self._device, non_blocking=True)
        if raw.uniform:
            return self._normalised(self._shown(pixels))
        sizes = raw.sizes.tolist()
        shown = [self._shown(image[None, :, :h, :w]) for image, (h, w) in zip(pixels, sizes, strict=True)]
        return self._normalised(torch.cat(shown))

    def _mirrored(self, generator: Generator, epoch: int, rows: Tensor) -> tuple[Tensor, Tensor]:
        draws = torch.rand(2, len(rows), generator=generator)
        sideways = draws[0] < self._spec.flip
        if self._spec.alternate_flip:
            sideways = (_coin(rows) + epoch) % 2 == 1
        return sideways, draws[1] < self._spec.vertical_flip

    def _coloured(self, images: Tensor, generator: Generator) -> Tensor:
        spec = self._spec
        if any(spec.jitter) or spec.grey or spec.blur:
            images = images.float() / 255
            if any(spec.jitter):
                images = jitter(images, spec.jitter, spec.jitter_probability, generator)
            if spec.grey:
                images = grey(images, spec.grey, generator)
            if spec.blur:
                images = blur(images, spec.blur, spec.blur_sigma, spec.blur_kernel, generator)
            images = images * 255
        images = self._normalised(images)
        if spec.erasing:
            images = erase(images, spec.erasing, spec.erasing_scale, spec.erasing_ratio, generator)
        return images

    def _shown(self, pixels: Tensor) -> Tensor:
        """(b, 3, h, w) uint8 of one size, resized and cropped."""
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms.v2 import functional as tv

        spec = self._evaluation
        rows, columns = pixels.shape[2:]
        target = spec.resize or spec.size
        factor = target / min(rows, columns)
        wanted = [max(target, round(rows * factor)), max(target, round(columns * factor))]
        if wanted != [rows, columns]:
            mode = InterpolationMode.BICUBIC if spec.interpolation == "bicubic" else InterpolationMode.BILINEAR
            pixels = tv.resize(pixels, wanted, interpolation=mode, antialias=True)
        return tv.center_crop(pixels, [spec.size, spec.size])

    def _normalised(self, images: Tensor) -> Tensor:
        return images.float().mul_(self._factor).sub_(self._offset)


def _coin(rows: Tensor) -> Tensor:
    """(B,) 0 or 1 for each image number, fixed for good, as if drawn by a fair coin."""
    mixed = rows * 0x2545F4914F6CDD1D
    mixed = (mixed ^ (mixed >> 29)) * 0x27D4EB2F165667C5
    return (mixed >> 41) & 1
