"""What images with masks go through on their way to the network, in batches, on the training device."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from snellen.data.augment.appearance import change_appearance
from snellen.data.batch import RawBatch
from snellen.data.masks.cache import RawPairs
from snellen.data.masks.spec import MaskAugmentationSpec, MaskEvaluationTransformSpec
from snellen.data.masks.warp import random_windows, warp
from snellen.data.normalization import Normalization


class MaskAugmentation:
    """Training and scoring views of raw pairs, on `device`."""

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
        self._mean = torch.tensor(normalization.mean, device=device)[:, None, None]
        self._std = torch.tensor(normalization.std, device=device)[:, None, None]

    def train(self, raw: RawPairs, generator: Generator) -> tuple[Tensor, Tensor]:
        """(B, 3, h, w) float32, normalised, and (B, h, w) uint8 class numbers, IGNORE where nothing is scored.

        generator: of this batch alone; parameters are drawn on the CPU, so they are the same for every device.
        """
        spec = self._spec
        images = RawBatch(self._there(raw.images.pixels), raw.images.sizes.cpu(), raw.images.uniform)
        size = (spec.size, spec.size) if isinstance(spec.size, int) else spec.size
        windows = random_windows(
            images.sizes, size, spec.scale, spec.rotation, (spec.flip, spec.vertical_flip), generator
        )
        shown = warp(images, self._there(raw.masks.pixels), windows)
        pixels = shown.pixels.mul_(1 / 255)
        if spec.changes_pixels:
            pixels = change_appearance(pixels, spec, generator)
        pixels = self._normalised(pixels, white=1)
        if shown.covered is not None:
            pixels *= shown.covered[:, None]  # 0 is the mean
        return pixels, shown.labels

    def evaluate(self, images: RawBatch) -> Tensor:
        """(B, 3, h, w) float32, normalised: whole images, padded with the mean to a multiple of the spec's pixels."""
        multiple = self._evaluation.multiple
        count, channels, *sides = images.pixels.shape
        height, width = (-(-side // multiple) * multiple for side in sides)
        shown = torch.zeros(count, channels, height, width, device=self._device)
        normalised = self._normalised(self._there(images.pixels), white=255)
        shown[:, :, : sides[0], : sides[1]] = normalised
        if not images.uniform:
            for place, (rows, columns) in zip(shown, images.sizes.tolist(), strict=True):
                place[:, rows:] = 0
                place[:, :, columns:] = 0
        return shown

    def _there(self, pixels: Tensor) -> Tensor:
        return pixels.to(self._device, non_blocking=True)

    def _normalised(self, images: Tensor, white: int) -> Tensor:
        return images.float().mul_(1 / (white * self._std)).sub_(self._mean / self._std)
