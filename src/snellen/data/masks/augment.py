"""From decoded images and masks to network inputs, in batches on the training device."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from snellen.data.augment.appearance import change_appearance
from snellen.data.batch import Normalizer, RawBatch
from snellen.data.masks.cache import RawPairs
from snellen.data.masks.spec import MaskAugmentationSpec, MaskEvaluationTransformSpec
from snellen.data.masks.warp import random_windows, warp
from snellen.data.normalization import Normalization


class MaskAugmentation:
    """Training and evaluation views of raw pairs, on `device`."""

    def __init__(
        self,
        spec: MaskAugmentationSpec,
        evaluation: MaskEvaluationTransformSpec,
        normalization: Normalization,
        device: torch.device,
    ) -> None:
        self._spec = spec
        self._evaluation = evaluation
        self._device = device
        self._normalised = Normalizer(normalization, device)

    def train(self, raw: RawPairs, generator: Generator) -> tuple[Tensor, Tensor]:
        """(B, 3, h, w) float32, normalised, and (B, h, w) uint8 class numbers, IGNORE where nothing is scored.

        generator: for this batch only; parameters are drawn on the CPU, so they are the same on every device.
        """
        spec = self._spec
        images = RawBatch(self._on_device(raw.images.pixels), raw.images.sizes.cpu(), raw.images.uniform)
        size = (spec.size, spec.size) if isinstance(spec.size, int) else spec.size
        windows = random_windows(
            images.sizes, size, spec.scale, spec.rotation, (spec.flip, spec.vertical_flip), generator
        )
        warped = warp(images, self._on_device(raw.masks.pixels), windows)
        pixels = warped.pixels.mul_(1 / 255)
        if spec.changes_pixels:
            pixels = change_appearance(pixels, spec, generator)
        pixels = self._normalised(pixels, white=1)
        if warped.covered is not None:
            pixels *= warped.covered[:, None]  # 0 is the mean
        return pixels, warped.labels

    def evaluate(self, images: RawBatch) -> Tensor:
        """(B, 3, h, w) float32, normalised: whole images, padded with the mean to a multiple of the spec's pixels."""
        multiple = self._evaluation.multiple
        count, channels, *sides = images.pixels.shape
        height, width = (-(-side // multiple) * multiple for side in sides)
        padded = torch.zeros(count, channels, height, width, device=self._device)
        normalised = self._normalised(self._on_device(images.pixels), white=255)
        padded[:, :, : sides[0], : sides[1]] = normalised
        if not images.uniform:
            for canvas, (rows, columns) in zip(padded, images.sizes.tolist(), strict=True):
                canvas[:, rows:] = 0
                canvas[:, :, columns:] = 0
        return padded

    def _on_device(self, pixels: Tensor) -> Tensor:
        return pixels.to(self._device, non_blocking=True)
