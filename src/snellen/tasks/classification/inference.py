"""Class probabilities of images by a trained run, in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.data.augment.pipeline import Augmentation, evaluation_view
from snellen.data.decode import UnreadableImageError
from snellen.data.disk_cache import DiskCache
from snellen.data.in_memory import ImageInMemory
from snellen.run.directory import RunDirectory
from snellen.tasks.arithmetic import Arithmetic, arithmetic_of
from snellen.tasks.classification.record import load_model, recipe_of
from snellen.tasks.classification.task import scored_logits
from snellen.tasks.decoding import view_reader

_AHEAD = 2  # batches decoded in advance
Read = TypeVar("Read")


@dataclass(frozen=True)
class PredictedBatch:
    """rows: which of the images, counted from 0. probabilities: (n, C) float32 of these, which sum to 1.

    unreadable: the others of the batch, by their row.
    """

    rows: list[int]
    probabilities: NDArray[np.float32]
    unreadable: dict[int, UnreadableImageError]

    def __len__(self) -> int:
        return len(self.rows) + len(self.unreadable)


class ClassPredictor(Protocol):
    """A trained network, of a run or of an exported file."""

    def predict(self, images: Sequence[Path | ImageInMemory]) -> Iterator[PredictedBatch]:
        """Probabilities of the images, in their order, a batch at a time."""


class Predictor:
    """The chosen epoch's network of a run, with the run's own preprocessing and arithmetic.

    bits: of 16-bit images, if they differ from the run's. disk: where images are kept; None: nowhere. arithmetic: None:
    the run's own.
    """

    def __init__(
        self,
        run: RunDirectory,
        bits: int | None = None,
        disk: DiskCache | None = None,
        arithmetic: Arithmetic | None = None,
    ) -> None:
        self._recipe = recipe_of(run)
        self._bits = bits or self._recipe.data.bits
        self._view = view_reader(self._recipe.evaluation, self._bits, disk or DiskCache(0))
        arithmetic = arithmetic or arithmetic_of(run, self._recipe)
        self._augmentation = Augmentation(self._recipe.augmentation, arithmetic.normalization, arithmetic.device)
        self._autocast, self._layout = arithmetic.autocast, arithmetic.mode.memory_format
        self.device = arithmetic.device
        self._model = load_model(run, "best").to(arithmetic.device)
        arithmetic.mode.apply(self._model)

    def predict(self, images: Sequence[Path | ImageInMemory]) -> Iterator[PredictedBatch]:
        """Probabilities of the images, in their order, a batch at a time."""

        def view(image: Path | ImageInMemory) -> Tensor:
            if isinstance(image, Path):
                return self._view(image)
            return evaluation_view(image.decode(self._bits), self._recipe.evaluation)

        return map(self._predict, read_ahead(images, view, self._recipe.batch_size))

    def _predict(self, decoded: Mapping[int, Tensor | UnreadableImageError]) -> PredictedBatch:
        readable = [image for image in decoded.values() if isinstance(image, Tensor)]
        if not readable:
            return predicted_batch(decoded)
        return predicted_batch(decoded, self.probabilities(torch.stack(readable)))

    def probabilities(self, views: Tensor) -> NDArray[np.float32]:
        """(n, C) of (n, 3, S, S) uint8 views, as `evaluation_view` returns them."""
        with torch.inference_mode():
            images = self._augmentation.evaluate(views).contiguous(memory_format=self._layout)
            logits = scored_logits(self._model, images, self._autocast, self._recipe.evaluation.flip)
        result: NDArray[np.float32] = logits.softmax(1).cpu().numpy()
        return result


def read_ahead(
    images: Sequence[Path | ImageInMemory], read: Callable[[Path | ImageInMemory], Read], batch_size: int
) -> Iterator[dict[int, Read | UnreadableImageError]]:
    """Batches of images by their row, read in other threads while earlier batches are used."""

    def attempt(image: Path | ImageInMemory) -> Read | UnreadableImageError:
        try:
            return read(image)
        except UnreadableImageError as error:
            return error

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        remaining = iter(enumerate(images))
        waiting: list[list[tuple[int, Future[Read | UnreadableImageError]]]] = []
        while True:
            while len(waiting) <= _AHEAD:
                chunk = list(islice(remaining, batch_size))
                if not chunk:
                    break
                waiting.append([(row, pool.submit(attempt, image)) for row, image in chunk])
            if not waiting:
                return
            yield {row: future.result() for row, future in waiting.pop(0)}


def predicted_batch(results: Mapping[int, object], probabilities: NDArray[np.float32] | None = None) -> PredictedBatch:
    """What was read or computed for each image of a batch, by its row, with the errors of the unreadable ones.

    probabilities: (n, C) of the readable ones. None: the results are their rows.
    """
    unreadable = {row: result for row, result in results.items() if isinstance(result, UnreadableImageError)}
    rows = [row for row in results if row not in unreadable]
    if probabilities is None:
        probabilities = np.array([results[row] for row in rows], np.float32)
    return PredictedBatch(rows, probabilities, unreadable)
