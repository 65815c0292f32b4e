"""From cached pixels to batches on the training device, in an order that depends on seed and epoch alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen import ranks
from snellen.data.augment.draws import Draws, PartOfBatch
from snellen.data.augment.mixing import draw_mixing, soft_targets
from snellen.data.augment.pipeline import Augmentation
from snellen.data.augment.spec import MixSpec
from snellen.data.batch import sent
from snellen.data.cache import Pixels
from snellen.data.prefetch import produced
from snellen.randomness import derive


@dataclass(frozen=True)
class Batch:
    """The data of one optimiser step, or of one step of an evaluation.

    images: (B, 3, S, S) float, normalised, on the training device. target: (B,) int64 in [0, C).
    soft: (B, C) float32 label distribution after mixing, rows sum to 1; None if nothing was mixed. whole: how many
    images the step has in all processes; None: B.
    """

    images: Tensor
    target: Tensor
    soft: Tensor | None = None
    whole: int | None = None

    def __len__(self) -> int:
        return len(self.target)

    def split(self, parts: int) -> list[Batch]:
        """The batch in nearly equal parts, at most `parts` of them, for gradient accumulation."""
        parts = part_count(len(self), parts)
        soft = [None] * parts if self.soft is None else self.soft.tensor_split(parts)
        pieces = zip(self.images.tensor_split(parts), self.target.tensor_split(parts), soft, strict=True)
        return [Batch(*piece) for piece in pieces]


@dataclass(frozen=True)
class Feed:
    """Batches of one set of images.

    pixels: the images from which training crops are cut. views: the same as evaluation views. targets: their classes,
    (N,) int64 on the CPU. classes: C. device: of the batches. seed: of order and augmentation. channels_last: the
    memory format of the images.
    """

    pixels: Pixels
    views: Pixels
    targets: Tensor
    classes: int
    augmentation: Augmentation
    mix: MixSpec
    batch_size: int
    drop_last: bool
    seed: int
    device: torch.device
    channels_last: bool

    @property
    def count(self) -> int:
        """Number of images."""
        return len(self.targets)

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return steps_in_epoch(self.count, self.batch_size, self.drop_last)

    def train(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The augmented batches of an epoch (counted from 1), from step `start` (counted from 0) on."""

        def make(step: int) -> Batch:
            return self._train_batch(shuffled[step * self.batch_size : (step + 1) * self.batch_size], epoch, step)

        shuffled = order(self.seed, epoch, len(self.targets))
        return produced(make, range(start, self.steps), self.device, self.pixels)

    def evaluate(self, rows: NDArray[np.int64] | None = None, dealt: bool = False) -> Iterator[Batch]:
        """Batches of the evaluation views of all images, or of those in `rows`, in order.

        dealt: only those of this process, see `ranks.dealt`.
        """

        def make(step: int) -> Batch:
            batch_rows = all_rows[step * self.batch_size : (step + 1) * self.batch_size]
            views = self.views.gather(batch_rows).pixels
            return self._on_device(self.augmentation.evaluate(views), self.targets[batch_rows])

        all_rows = torch.arange(len(self.targets)) if rows is None else torch.from_numpy(rows)
        steps = -(-len(all_rows) // self.batch_size)
        return produced(make, ranks.dealt(steps) if dealt else range(steps), self.device, self.views)

    def _train_batch(self, rows: Tensor, epoch: int, step: int) -> Batch:
        generator = self._generator(epoch, step)
        batch = self._augmented(*part_of_batch(rows, generator), epoch)
        if not (self.mix.mixup or self.mix.cutmix):
            return replace(batch, whole=len(rows))
        images, soft = batch.images, soft_targets(batch.target, self.classes)
        mixing = draw_mixing(len(rows), images.shape[2], images.shape[3], self.mix, generator)
        if mixing is not None:
            partner = mixing.partner[ranks.part(len(rows))]
            if len(partner) == len(rows):
                partner = partner.to(self.device)
                others, other_soft = images[partner], soft[partner]
            else:  # partners that other processes hold are made here too, by the same random numbers
                draws = PartOfBatch(self._generator(epoch, step), len(rows), partner)
                other = self._augmented(rows[partner], draws, epoch)
                others, other_soft = other.images, soft_targets(other.target, self.classes)
            images, soft = mixing.blend(images, soft, others, other_soft)
        return Batch(images, batch.target, soft, len(rows))

    def _generator(self, epoch: int, step: int) -> torch.Generator:
        return torch.Generator().manual_seed(derive(self.seed, "augmentation", epoch, step))

    def _augmented(self, rows: Tensor, draws: Draws, epoch: int) -> Batch:
        images = self.augmentation.train(self.pixels.take(rows), draws, epoch=epoch, rows=rows)
        return self._on_device(images, self.targets[rows])

    def _on_device(self, images: Tensor, target: Tensor) -> Batch:
        images = on_device(images, self.device, self.channels_last)
        return Batch(images, sent(target, self.device))


def part_of_batch(rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Draws]:
    """Those of a batch's rows, (B,) int64, that this process makes, and the random numbers for them."""
    mine = torch.arange(len(rows))[ranks.part(len(rows))]
    return (rows, generator) if len(mine) == len(rows) else (rows[mine], PartOfBatch(generator, len(rows), mine))


def part_count(images: int, parts: int) -> int:
    """At most `parts`: how many parts a batch is split into, none with a single image unless the batch has only one.

    An epoch's last batch may be smaller than the others; batch-norm on a 1 x 1 map cannot use one image alone.
    """
    return max(1, min(parts, images // 2))


def on_device(images: Tensor, device: torch.device, channels_last: bool) -> Tensor:
    """The images on the device and in the memory format that the network expects."""
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    return sent(images, device).contiguous(memory_format=memory_format)


def steps_in_epoch(count: int, batch_size: int, drop_last: bool) -> int:
    """Batches of `count` images. A last batch of one image is dropped: it has no variance for batch-norm.

    So is one with fewer images than there are processes.
    """
    full, rest = divmod(count, batch_size)
    return max(1, full + (0 if drop_last or rest < max(2, ranks.size()) else 1))


def order(seed: int, epoch: int, count: int) -> Tensor:
    """(count,) int64: the rows of all images in the order of this epoch, which is counted from 1."""
    generator = torch.Generator().manual_seed(derive(seed, "order", epoch))
    return torch.randperm(count, generator=generator)
