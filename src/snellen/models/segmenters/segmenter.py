"""What every segmenter is: images of any size in, logits of the same size out."""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F


class SegmenterOutput(NamedTuple):
    """What a segmenter with an auxiliary head says in training: (B, C, H, W) logits, each, of its two heads."""

    logits: Tensor
    auxiliary: Tensor


class Segmenter(nn.Module):
    """A network that says of every pixel what it is.

    backbone: the encoder, which weights of classifiers and of pretraining fit into. encoder_name: what `model.backbone`
    of a classifier would call it; None for an encoder that only segmenters have. new: beginnings of the names of the
    layers that give the classes. stride: the sides that the network itself can take are multiples of it; images of
    other sizes are padded at the right and at the bottom with zeros, the mean colour once they are normalised.
    """

    backbone: nn.Module
    encoder_name: str | None
    new: tuple[str, ...]
    stride: int
    frozen = False

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

    def freeze(self) -> None:
        """The backbone is no longer trained, and keeps its batch-norm statistics too."""
        self.frozen = True
        self.backbone.requires_grad_(False)
        self.backbone.eval()

    def train(self, mode: bool = True) -> Segmenter:
        """Training mode; a frozen backbone stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self
