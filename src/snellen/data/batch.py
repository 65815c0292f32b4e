"""What the pixel cache hands to the augmentation."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class RawBatch:
    """Decoded images of one batch, before any augmentation.

    pixels: (B, 3, H, W) uint8, RGB. Image b fills [:, : sizes[b, 0], : sizes[b, 1]]; what lies beyond is zero.
    sizes: (B, 2) int64 on the same device, height and width of each image in pixels.
    uniform: True when every image fills the whole (H, W), known without asking the device.
    """

    pixels: Tensor
    sizes: Tensor
    uniform: bool
