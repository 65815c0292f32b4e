"""The batches that the pixel cache passes to the augmentation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class RawBatch:
    """Decoded images of one batch, before any augmentation.

    pixels: (B, 3, H, W) uint8, RGB. Image b fills [:, : sizes[b, 0], : sizes[b, 1]]; the rest is zero.
    sizes: (B, 2) int64 on the same device, height and width of each image in pixels.
    uniform: True when every image fills the whole (H, W); stored so that the device need not be asked.
    """

    pixels: Tensor
    sizes: Tensor
    uniform: bool


@dataclass(frozen=True)
class ImageList:
    """Decoded images of one batch that differ in size, each (3, h, w) uint8, RGB; nothing is padded."""

    images: list[Tensor]

    @property
    def sizes(self) -> Tensor:
        """(B, 2) int64 on the CPU: height and width of each image in pixels."""
        return torch.tensor([image.shape[1:] for image in self.images]).reshape(-1, 2)
