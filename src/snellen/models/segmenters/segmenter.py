"""The interface of all segmenters: images of any size in, logits of the same size out."""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F

from snellen.models.backbones import OnBackbone


class SegmenterOutput(NamedTuple):
    """Training output of a segmenter with an auxiliary head: (B, C, H, W) logits of each of its two heads."""

    logits: Tensor
    auxiliary: Tensor


class Segmenter(OnBackbone):
    """A network that classifies every pixel.

    backbone: the encoder, which weights of classifiers and of pretraining fit into. encoder_name: its name as
    `model.backbone` of a classifier; None for an encoder that only segmenters have. new: prefixes of the names of the
    layers that output the classes. stride: the network itself takes sides that are multiples of it; images of other
    sizes are padded at the right and bottom with zeros, which is the mean colour after normalisation.
    """

    encoder_name: str | None
    new: tuple[str, ...]
    stride: int

    @abstractmethod
    def heads(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits of images whose sides are multiples of `stride`, and in training those of the auxiliary head."""

    def forward(self, images: Tensor) -> Tensor | SegmenterOutput:
        """(B, 3, H, W) normalised images to (B, C, H, W) logits; with an auxiliary head, in training, to both."""
        height, width = images.shape[-2:]
        below, beside = -height % self.stride, -width % self.stride
        padded = F.pad(images, (0, beside, 0, below)) if below or beside else images
        logits, auxiliary = self.heads(padded)
        logits = logits[..., :height, :width]
        return logits if auxiliary is None else SegmenterOutput(logits, auxiliary[..., :height, :width])
