"""From decoded images to network inputs: evaluation views one by one, training views in batches on the device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from snellen.data.augment.appearance import change_appearance
from snellen.data.augment.draws import Draws, one_by_one, uniform
from snellen.data.augment.erasing import erase
from snellen.data.augment.framing import Mirrored, frame
from snellen.data.augment.geometry import (
    Views,
    central_windows,
    random_windows,
    resized_crops,
    shorter_to,
    squashed,
)
from snellen.data.augment.rotation import rotate
from snellen.data.augment.spec import AugmentationSpec, EvaluationTransformSpec
from snellen.data.batch import ImageList, Normalizer, RawBatch, sent
from snellen.data.normalization import Normalization


def evaluation_view(image: Tensor, spec: EvaluationTransformSpec) -> Tensor:
    """The view of an image for evaluation and prediction, before normalisation.

    image: (3, h, w) uint8, the whole upright RGB image at its full size, on the CPU. Returns (3, S, S) uint8: one
    antialiased resize of the shorter side, rounded to whole grey levels, and the centre crop: bit-identical to
    torchvision's Resize(resize) and CenterCrop(size) of a tensor (within a grey level for a strip so long that it is
    resized to more than 4 megapixels); or a resize of both sides (squash). Nothing else changes a pixel.
    """
    sizes = torch.tensor([image.shape[1:]])
    views = squashed(sizes, spec.size) if spec.squash else central_windows(sizes, spec.size, spec.resize or spec.size)
    raw = RawBatch(image[None], sizes, uniform=True)
    return frame(raw, views, spec.size, mirrored=None, reflect=False, interpolation=spec.interpolation)[0].byte()


def stored_image(image: Tensor, spec: AugmentationSpec) -> Tensor:
    """The stored form of a training image, to cut crops from: (3, h, w) uint8, shorter side at most `stored_side`.

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
        self._normalised = Normalizer(normalization, device)

    def train(self, raw: RawBatch | ImageList, draws: Draws, *, epoch: int, rows: Tensor) -> Tensor:
        """(B, 3, S, S) views; parameters are drawn on the CPU, so they are the same on every device.

        raw: images as returned by `stored_image`. draws: of this batch only. epoch: counted from 1. rows: (B,)
        int64, the images' indices in the data.
        """
        spec = self._spec
        raw = self._on_device(raw)
        changed_first = spec.crop_order == "last" and spec.changes_pixels
        if changed_first:
            raw = self._changed(raw, draws)
        views = self._views(raw.sizes, draws)
        mirrored = self._mirrored(draws, epoch, rows)
        reflect = spec.crop == "random" and spec.padding_mode == "reflect"
        if spec.rotation == 0:
            images = frame(raw, views, spec.size, mirrored, reflect, spec.interpolation)
        else:
            degrees = (uniform(draws, len(rows)) * 2 - 1) * spec.rotation
            tiles = frame(raw, views, spec.size, None, reflect, spec.interpolation)
            images = rotate(tiles, views.window, degrees, mirrored)
        images = self._normalised(images, white=255) if changed_first else self._coloured(images, draws)
        if spec.erasing:
            images = erase(images, spec.erasing, spec.erasing_scale, spec.erasing_ratio, draws)
        return images

    def evaluate(self, views: Tensor) -> Tensor:
        """(B, 3, S, S) from uint8 views as returned by `evaluation_view`."""
        return self._normalised(sent(views, self._device), white=255)

    def _on_device(self, raw: RawBatch | ImageList) -> RawBatch | ImageList:
        if isinstance(raw, ImageList):
            return ImageList([sent(image, self._device) for image in raw.images])
        return RawBatch(sent(raw.pixels, self._device), raw.sizes.cpu(), raw.uniform)

    def _changed(self, raw: RawBatch | ImageList, draws: Draws) -> RawBatch | ImageList:
        """Changes colours and blurs whole images, one at a time, rounded to whole grey levels again."""
        if isinstance(raw, ImageList):
            images = raw.images
        else:
            images = [image[:, :h, :w] for image, (h, w) in zip(raw.pixels, raw.sizes.tolist(), strict=True)]
        changed = [
            change_appearance(image[None].float().mul_(1 / 255), self._spec, generator)[0].mul_(255).round_().byte()
            for image, generator in zip(images, one_by_one(draws, len(images)), strict=True)
        ]
        if isinstance(raw, ImageList) or not raw.uniform:
            return ImageList(changed)
        return RawBatch(torch.stack(changed), raw.sizes, uniform=True)

    def _views(self, sizes: Tensor, draws: Draws) -> Views:
        spec = self._spec
        if spec.crop == "resized":
            # A box that is also rotated is enlarged in the same resampling; reducing it needs the antialiased one.
            return resized_crops(sizes, spec.size, spec.scale, spec.ratio, draws, enlarge=spec.rotation == 0)
        if spec.crop == "random":
            return random_windows(sizes, spec.size, spec.resize, spec.padding, draws)
        return central_windows(sizes, spec.size, spec.resize)

    def _mirrored(self, draws: Draws, epoch: int, rows: Tensor) -> Mirrored:
        numbers = uniform(draws, len(rows), leading=[2])
        sideways = numbers[0] < self._spec.flip
        if self._spec.alternate_flip:
            sideways = (_coin(rows.cpu()) + epoch) % 2 == 1
        return Mirrored(sideways, numbers[1] < self._spec.vertical_flip)

    def _coloured(self, images: Tensor, draws: Draws) -> Tensor:
        """Colour changes and blur, then normalisation. images: (B, 3, S, S) in [0, 255]."""
        if not self._spec.changes_pixels:
            return self._normalised(images, white=255)
        return self._normalised(change_appearance(images.float().mul_(1 / 255), self._spec, draws), white=1)


def _coin(rows: Tensor) -> Tensor:
    """(B,) 0 or 1 for each image index, the same in every run, as if drawn by a fair coin."""
    mixed = rows * 0x2545F4914F6CDD1D
    mixed = (mixed ^ (mixed >> 29)) * 0x27D4EB2F165667C5
    return (mixed >> 41) & 1
