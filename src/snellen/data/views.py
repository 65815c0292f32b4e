"""Two views of each image, in batches on the training device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen import ranks
from snellen.data.augment.pipeline import Augmentation
from snellen.data.cache import Pixels
from snellen.data.feed import on_device, order, part_of_batch
from snellen.data.prefetch import produced
from snellen.randomness import derive


@dataclass(frozen=True)
class ViewBatch:
    """first, second: (B, 3, S, S) float, normalised, on the training device: two views of the same images.

    whole: how many images the step has in all processes; None: B.
    """

    first: Tensor
    second: Tensor
    whole: int | None = None

    @property
    def images(self) -> Tensor:
        """The first views, as a batch of images."""
        return self.first

    def __len__(self) -> int:
        return len(self.first)

    def split(self, parts: int) -> Sequence[ViewBatch]:
        """Not possible: losses over views need the whole batch."""
        raise NotImplementedError(f"a batch of views cannot be split into {parts}")


@dataclass(frozen=True)
class ViewFeed:
    """Batches of views of unlabelled images. The last, smaller batch of an epoch is dropped.

    seed: of order and augmentation. channels_last: the memory format of the views.
    """

    pixels: Pixels
    augmentation: Augmentation
    batch_size: int
    seed: int
    device: torch.device
    channels_last: bool

    @property
    def steps(self) -> int:
        """Batches in an epoch: one with all images if there are fewer than batch_size."""
        return max(1, len(self.pixels) // self.batch_size)

    def train(self, epoch: int, start: int = 0) -> Iterator[ViewBatch]:
        """The batches of an epoch (counted from 1), from step `start` (counted from 0) on."""

        def make(step: int) -> ViewBatch:
            whole = shuffled[step * self.batch_size : (step + 1) * self.batch_size]
            raw = self.pixels.take(whole[ranks.part(len(whole))])
            views = []
            for number in (1, 2):
                generator = torch.Generator().manual_seed(derive(self.seed, "view", number, epoch, step))
                rows, draws = part_of_batch(whole, generator)
                flip_epoch = epoch + number - 1  # alternate_flip gives the second view the other flip
                view = self.augmentation.train(raw, draws, epoch=flip_epoch, rows=rows)
                views.append(on_device(view, self.device, self.channels_last))
            return ViewBatch(views[0], views[1], len(whole))

        shuffled = order(self.seed, epoch, len(self.pixels))
        return produced(make, range(start, self.steps), self.device, self.pixels)
