"""The batches that the pixel cache passes to the augmentation, and their normalisation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.data.normalization import Normalization


@dataclass(frozen=True)
class RawBatch:
    """Decoded images of one batch, before any augmentation.

    pixels: (B, 3, H, W) uint8, RGB. Image b fills [:, : sizes[b, 0], : sizes[b, 1]]; the rest is zero.
    sizes: (B, 2) int64 on the CPU, height and width of each image in pixels.
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


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device. To a GPU it is copied from page-locked memory, and the caller does not wait for it."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


class Normalizer:
    """Pixels to (pixel - mean) / std, per channel, on `device`."""

    def __init__(self, normalization: Normalization, device: torch.device) -> None:
        self._mean = torch.tensor(normalization.mean, device=device)[:, None, None]
        self._std = torch.tensor(normalization.std, device=device)[:, None, None]

    def __call__(self, images: Tensor, white: int) -> Tensor:
        """(B, 3, H, W) float32; floats are changed in place. white: the largest value of a pixel, 255 or 1."""
        return images.float().mul_(1 / (white * self._std)).sub_(self._mean / self._std)
