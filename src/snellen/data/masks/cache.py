"""Images and masks decoded once and cached as bytes, up to a memory limit."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from snellen.data.batch import RawBatch
from snellen.data.bounded import bounded_map
from snellen.data.cache import Pixels
from snellen.data.decode import UnreadableImageError, decode
from snellen.data.disk_cache import DiskCache, Entry
from snellen.data.listing import Unreadable
from snellen.data.masks.classes import IGNORE
from snellen.data.masks.decode import MaskReading, decode_mask
from snellen.data.masks.resize import (
    Resize,
    TrainingSizes,
    evaluation_size,
    resize_image,
    resize_mask,
    resized_size,
)
from snellen.data.masks.sources import MaskedSet
from snellen.data.masks.spec import MaskDataSpec
from snellen.data.rereading import Rereading, state_of
from snellen.data.store import CacheBudget, PixelStore
from snellen.data.unreadable import unreadable_files
from snellen.errors import UserError


@dataclass(frozen=True)
class RawPairs:
    """images: (B, 3, H, W) uint8 with their sizes. masks: (B, 1, H', W') uint8 with theirs, padded with IGNORE."""

    images: RawBatch
    masks: RawBatch


@dataclass(frozen=True)
class PairPixels:
    """Decoded images and masks in a fixed order; either both of a pair are in memory or neither.

    class_pixels: (N, C + 1) int64, pixels of each class in each mask, unscored ones last. sizes: (N, 2) int64, height
    and width of the images as cached.
    """

    images: Pixels
    masks: Pixels
    class_pixels: Tensor
    sizes: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def gather(self, rows: Tensor) -> RawPairs:
        """The pairs of `rows`, (B,) int64, as a batch."""
        return RawPairs(self.images.gather(rows), self.masks.gather(rows))


@dataclass(frozen=True)
class DecodedSet:
    """images: the set without the pairs that were left out. train, validation: their pixels. notes: on classes.

    training: original sizes of the training images.
    """

    images: MaskedSet
    train: PairPixels
    validation: PairPixels
    notes: tuple[str, ...]
    training: TrainingSizes


def decode_set(
    images: MaskedSet,
    spec: MaskDataSpec,
    train_resize: Resize,
    validation_resize: Resize,
    on_progress: Callable[[int], None] | None = None,
) -> DecodedSet:
    """The pixels of a set. Training masks are resized with their images, validation masks are not resized.

    on_progress: called with the number of pairs done. Raises UserError for unusable pairs, unless `spec` says to leave
    them out, and if no pair is left.
    """
    reading = spec.reading(images.classes)
    budget = CacheBudget(spec.cache_mib, disk=DiskCache(spec.disk_cache_mib))
    loaded: list[Loaded] = []
    before = 0
    for samples, resize, masks_too in (
        (images.train, train_resize, True),
        (images.validation, validation_resize, False),
    ):
        paths = [(images.root / sample.path, images.root / sample.mask) for sample in samples]
        report = None if on_progress is None else lambda done, start=before: on_progress(start + done)
        training = TrainingSizes.of(loaded[0].sizes) if loaded and loaded[0].sizes else None
        loaded.append(load_pairs(paths, reading, resize, masks_too, budget, report, training, spec.bits))
        before += len(samples)
    failed = [error for part in loaded for error in part.failed]
    if failed and spec.unreadable == "error":
        raise unreadable_files(failed, "pairs")
    train, validation = (
        tuple(samples[row] for row in part.rows)
        for samples, part in zip((images.train, images.validation), loaded, strict=True)
    )
    if not train or not validation:
        raise UserError(f"{images.root}: there are no usable {'validation' if train else 'training'} images.")
    left_out = (*images.left_out, *(Unreadable(str(error.path), error.reason) for error in failed))
    images = replace(images, train=train, validation=validation, left_out=left_out)
    notes = _occurrence_notes(images, loaded[0].pixels.class_pixels, loaded[1].pixels.class_pixels)
    if not loaded[0].pixels.class_pixels[:, :-1].any():
        raise UserError(
            f"{images.root}: no pixel of the training masks is scored. Ignored: {images.classes.ignored_text}."
        )
    return DecodedSet(images, loaded[0].pixels, loaded[1].pixels, notes, TrainingSizes.of(loaded[0].sizes))


@dataclass(frozen=True)
class Loaded:
    """pixels: of the usable pairs. rows: their indices in the list of paths. failed: the errors of the others.

    sizes: original height and width of the usable images.
    """

    pixels: PairPixels
    rows: list[int]
    failed: list[UnreadableImageError]
    sizes: list[tuple[int, int]]


def load_pairs(
    paths: Sequence[tuple[Path, Path]],
    reading: MaskReading,
    resize: Resize,
    masks_too: bool,
    budget: CacheBudget,
    on_progress: Callable[[int], None] | None = None,
    training: TrainingSizes | None = None,
    bits: int | None = None,
) -> Loaded:
    """Decodes all pairs once, in threads, and caches those that fit into `budget`.

    paths: of image and mask. resize: of the images, and of the masks if masks_too. on_progress: called with the number
    of pairs done. training: see `evaluation_size`; None for the training images themselves. bits: of 16-bit images, as
    in `decode`.
    """
    image_store, mask_store = PixelStore(budget, len(paths)), PixelStore(budget, len(paths))
    images: list[Tensor | None] = []
    masks: list[Tensor | None] = []
    counts: list[tuple[int, ...]] = []
    rows: list[int] = []
    failed: list[UnreadableImageError] = []
    sizes: list[tuple[int, int]] = []
    cached_sizes: list[tuple[int, ...]] = []
    image_files, mask_files = Rereading(), Rereading()
    scale = None if resize is None else (resize, training)  # what evaluation_size depends on
    image_reading, mask_reading = f"scene {scale} {bits}", f"mask {reading} {resize if masks_too else None}"

    def decoded_image(path: Path) -> Entry:
        image = decode(path, bits=bits)
        size = int(image.shape[1]), int(image.shape[2])
        return Entry(resize_image(image, evaluation_size(size, resize, training)).contiguous(), size)

    def read_image(path: Path) -> Entry:
        return budget.disk.fetch(path, image_reading, decoded_image)

    def read_mask(path: Path, size: tuple[int, int]) -> Entry:
        def decoded_mask(path: Path) -> Entry:
            mask = decode_mask(path, reading, size)
            pixels = resize_mask(mask, resized_size(size, resize) if masks_too else size)[None]
            return Entry(pixels, _class_pixels(mask, len(reading.table)))

        return budget.disk.fetch(path, f"{mask_reading} {size}", decoded_mask)

    def attempt(pair: tuple[Path, Path]) -> tuple[tuple[int, int], tuple[Entry, Entry] | UnreadableImageError]:
        states = state_of(pair[0]), state_of(pair[1])
        try:
            image = read_image(pair[0])
            height, width = image.numbers
            return states, (image, read_mask(pair[1], (height, width)))
        except UnreadableImageError as error:
            return states, error

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for row, (states, result) in enumerate(bounded_map(pool, attempt, paths)):
            if isinstance(result, UnreadableImageError):
                failed.append(result)
            else:
                image, mask = result
                height, width = image.numbers
                sizes.append((height, width))
                cached_sizes.append(tuple(image.pixels.shape[1:]))
                fits = budget.take(image.pixels.nbytes + mask.pixels.nbytes)
                images.append(image_store.put(image.pixels) if fits else None)
                masks.append(mask_store.put(mask.pixels) if fits else None)
                counts.append(mask.numbers)
                rows.append(row)
                for files, path, state in zip((image_files, mask_files), paths[row], states, strict=True):
                    files.add(path, state)
            if on_progress is not None and ((row + 1) % 64 == 0 or row + 1 == len(paths)):
                on_progress(row + 1)
    pixels = PairPixels(
        Pixels(lambda row: read_image(image_files.path(row)).pixels, images, image_store),
        Pixels(lambda row: read_mask(mask_files.path(row), sizes[row]).pixels, masks, mask_store, fill=IGNORE),
        torch.tensor(counts, dtype=torch.int64).reshape(-1, len(reading.table) + 1),
        torch.tensor(cached_sizes, dtype=torch.int64).reshape(-1, 2),
    )
    return Loaded(pixels, rows, failed, sizes)


def _class_pixels(mask: Tensor, classes: int) -> tuple[int, ...]:
    """(C + 1): pixels of each class, unscored ones last."""
    counts = torch.bincount(mask.flatten(), minlength=IGNORE + 1).tolist()
    return (*counts[:classes], *counts[IGNORE:])


def _occurrence_notes(images: MaskedSet, train: Tensor, validation: Tensor) -> tuple[str, ...]:
    """Notes on classes without pixels, and on masks without scored pixels."""
    notes = []
    sides = (("training", train.sum(0)), ("validation", validation.sum(0)))
    for label, name in enumerate(images.classes.names):
        missing = [side for side, pixels in sides if pixels[label] == 0]
        if len(missing) == 2:
            notes.append(f"class '{name}' occurs in no mask")
        elif missing:
            notes.append(f"class '{name}' occurs in no {missing[0]} mask")
    for side, pixels in (("training", train), ("validation", validation)):
        empty = int((pixels[:, :-1].sum(1) == 0).sum())
        if empty:
            notes.append(f"{empty} {side} masks have no scored pixel")
    return tuple(notes)
