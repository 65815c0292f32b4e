"""From cached pairs to batches on the training device, in an order that depends on seed and epoch alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from snellen import ranks
from snellen.data.batch import sent
from snellen.data.feed import on_device, order, part_count, part_of_batch, steps_in_epoch
from snellen.data.masks.augment import MaskAugmentation
from snellen.data.masks.cache import PairPixels
from snellen.data.prefetch import produced
from snellen.randomness import derive

LARGE = 768  # px: images with a longer side are scored tile by tile


@dataclass(frozen=True)
class MaskBatch:
    """The data of one optimiser step, or of one step of an evaluation.

    images: (B, 3, H, W) float, normalised, on the training device. target: (B, H', W') int64 class numbers there, 255
    where nothing is scored; in training H' = H and W' = W, in evaluation those of the largest mask as stored.
    content_size, sizes: (B, 2) int64 on the CPU, height and width of each image without padding, and of each mask.
    whole: how many images the step has in all processes; None: B.
    """

    images: Tensor
    target: Tensor
    content_size: Tensor
    sizes: Tensor
    whole: int | None = None

    def __len__(self) -> int:
        return len(self.target)

    def split(self, parts: int) -> list[MaskBatch]:
        """The batch in nearly equal parts, at most `parts` of them, for gradient accumulation."""
        parts = part_count(len(self), parts)
        fields = (self.images, self.target, self.content_size, self.sizes)
        pieces = zip(*(field.tensor_split(parts) for field in fields), strict=True)
        return [MaskBatch(*piece) for piece in pieces]

    def at_target(self, logits: Tensor) -> Tensor:
        """(B, C, H', W') from a network's (B, C, H, W): cropped to the content, resized to each mask, bilinear.

        Beyond a mask that is smaller than the largest it is zero; nothing is scored there.
        """
        height, width = self.target.shape[1:]
        same_size = bool((self.sizes == torch.tensor([height, width])).all())
        if same_size and bool((self.content_size == self.content_size[0]).all()):
            rows, columns = self.content_size[0].tolist()
            return _resized(logits[:, :, :rows, :columns], (height, width))
        out = logits.new_zeros(*logits.shape[:2], height, width)
        plan = zip(out, logits, self.content_size.tolist(), self.sizes.tolist(), strict=True)
        for canvas, image_logits, (rows, columns), (height, width) in plan:
            canvas[:, :height, :width] = _resized(image_logits[None, :, :rows, :columns], (height, width))[0]
        return out


@dataclass(frozen=True)
class MaskFeed:
    """Batches of one set of images with masks.

    device: of the batches. seed: of order and augmentation. channels_last: the memory format of the images.
    """

    pixels: PairPixels
    augmentation: MaskAugmentation
    batch_size: int
    drop_last: bool
    seed: int
    device: torch.device
    channels_last: bool

    @property
    def count(self) -> int:
        """Number of images."""
        return len(self.pixels)

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return steps_in_epoch(self.count, self.batch_size, self.drop_last)

    def train(self, epoch: int, start: int = 0) -> Iterator[MaskBatch]:
        """The augmented batches of an epoch (counted from 1), from step `start` (counted from 0) on."""

        def make(step: int) -> MaskBatch:
            whole = shuffled[step * self.batch_size : (step + 1) * self.batch_size]
            generator = torch.Generator().manual_seed(derive(self.seed, "augmentation", epoch, step))
            rows, draws = part_of_batch(whole, generator)
            images, labels = self.augmentation.train(self.pixels.gather(rows), draws)
            sizes = torch.tensor(labels.shape[1:]).expand(len(rows), 2)
            return replace(self._on_device(images, labels, sizes, sizes), whole=len(whole))

        shuffled = order(self.seed, epoch, self.count)
        return produced(make, range(start, self.steps), self.device, self.pixels.images, self.pixels.masks)

    def evaluate(self, rows: NDArray[np.int64] | None = None, dealt: bool = False) -> Iterator[MaskBatch]:
        """Batches of the evaluation views of all images, or of those in `rows`, in order, with whole masks.

        An image with a side longer than LARGE pixels is a batch of its own. dealt: only those of this process, see
        `ranks.dealt`.
        """

        def make(step: int) -> MaskBatch:
            raw = self.pixels.gather(batches[step])
            images = self.augmentation.evaluate(raw.images)
            return self._on_device(images, raw.masks.pixels[:, 0], raw.images.sizes, raw.masks.sizes)

        batches = self.evaluation_batches(rows)
        steps = ranks.dealt(len(batches)) if dealt else range(len(batches))
        return produced(make, steps, self.device, self.pixels.images, self.pixels.masks)

    def evaluation_batches(self, rows: NDArray[np.int64] | None = None) -> list[Tensor]:
        """The rows of each batch that `evaluate` yields."""
        all_rows = torch.arange(self.count) if rows is None else torch.from_numpy(rows)
        assert self.pixels.sizes is not None, "training images are not scored"
        large = (self.pixels.sizes[all_rows] > LARGE).any(1)
        edges = (torch.nonzero(large[1:] | large[:-1])[:, 0] + 1).tolist()
        runs = all_rows.tensor_split(edges)
        size = self.batch_size
        return [run[start : start + size] for run in runs for start in range(0, len(run), size)]

    def _on_device(self, images: Tensor, labels: Tensor, content_size: Tensor, sizes: Tensor) -> MaskBatch:
        images = on_device(images, self.device, self.channels_last)
        return MaskBatch(images, sent(labels, self.device).long(), content_size, sizes)


def _resized(logits: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(logits.shape[2:]) == size:
        return logits
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
