"""Images and masks decoded once and cached as bytes, up to a memory limit."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from snellen.data.batch import RawBatch
from snellen.data.bounded import bounded_map
from snellen.data.cache import Pixels
from snellen.data.decode import UnreadableImageError, decode, kind_and_size
from snellen.data.disk_cache import DiskCache, Entry
from snellen.data.fingerprint import is_large
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

_LOOKED_AT = 1000  # of pairs that are decoded as they are needed


@dataclass(frozen=True)
class RawPairs:
    """images: (B, 3, H, W) uint8 with their sizes. masks: (B, 1, H', W') uint8 with theirs, padded with IGNORE."""

    images: RawBatch
    masks: RawBatch


@dataclass(frozen=True)
class PairPixels:
    """Decoded images and masks in a fixed order.

    class_pixels: (n, C + 1) int64, pixels of each class in each mask, unscored ones last; of some of the masks if there
    are so many that they are decoded as they are needed. sizes: (N, 2) int64, height and width of the images as cached;
    None for training images that are decoded as they are needed.
    """

    images: Pixels
    masks: Pixels
    class_pixels: Tensor
    sizes: Tensor | None

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
    budget = CacheBudget(spec.cache_mib, disk=DiskCache(spec.disk_cache_mib))
    every_file = [images.root / name for sample in (*images.train, *images.validation) for name in sample.files]
    ahead = spec.unreadable == "skip" or not is_large(every_file)
    loaded: list[Loaded] = []
    before = 0
    for samples, resize, masks_too in (
        (images.train, train_resize, True),
        (images.validation, validation_resize, False),
    ):
        paths = [(images.root / sample.path, images.root / sample.mask) for sample in samples]
        report = None if on_progress is None else lambda done, start=before: on_progress(start + done)
        training = TrainingSizes.of(loaded[0].sizes) if loaded and loaded[0].sizes else None
        pairs = PairFiles(paths, spec.reading(images.classes), resize, masks_too, training, spec.bits)
        loaded.append(load_pairs(pairs, budget, report) if ahead else pairs_to_decode(pairs, budget))
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
    if not ahead:
        looked_at = " and ".join(
            f"{len(part.sizes):,} {side}" for part, side in zip(loaded, ("training", "validation"), strict=True)
        )
        notes = (f"classes were counted in {looked_at} masks, evenly spaced", *notes)
    if not loaded[0].pixels.class_pixels[:, :-1].any():
        raise UserError(
            f"{images.root}: no pixel of the training masks is scored. Ignored: {images.classes.ignored_text}."
        )
    return DecodedSet(images, loaded[0].pixels, loaded[1].pixels, notes, TrainingSizes.of(loaded[0].sizes))


@dataclass(frozen=True)
class Loaded:
    """pixels: of the usable pairs. rows: their indices in the list of paths. failed: the errors of the others.

    sizes: original height and width of the usable images; of some of them if they are decoded as they are needed.
    """

    pixels: PairPixels
    rows: list[int]
    failed: list[UnreadableImageError]
    sizes: list[tuple[int, int]]


@dataclass(frozen=True)
class PairFiles:
    """Files of pairs, and how they are decoded.

    paths: of image and mask. resize: of the images, and of the masks if masks_too. training: see `evaluation_size`;
    None for the training images themselves. bits: of 16-bit images, as in `decode`.
    """

    paths: Sequence[tuple[Path, Path]]
    reading: MaskReading
    resize: Resize
    masks_too: bool
    training: TrainingSizes | None = None
    bits: int | None = None

    @property
    def columns(self) -> int:
        """Classes, and one for what is not scored."""
        return len(self.reading.table) + 1

    def resized(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width of an image as cached. size: as stored."""
        return evaluation_size(size, self.resize, self.training)

    def image(self, path: Path, disk: DiskCache) -> Entry:
        """The pixels of an image, (3, h, w) uint8, and its height and width before it was resized."""

        def decoded(path: Path) -> Entry:
            image = decode(path, bits=self.bits)
            size = int(image.shape[1]), int(image.shape[2])
            return Entry(resize_image(image, self.resized(size)).contiguous(), size)

        scale = None if self.resize is None else (self.resize, self.training)  # what evaluation_size depends on
        return disk.fetch(path, f"scene {scale} {self.bits}", decoded)

    def mask(self, path: Path, size: tuple[int, int], disk: DiskCache) -> Entry:
        """The class numbers of a mask, (1, h, w) uint8, and the pixels of each class before it was resized.

        size: height and width of its image.
        """

        def decoded(path: Path) -> Entry:
            mask = decode_mask(path, self.reading, size)
            pixels = resize_mask(mask, resized_size(size, self.resize) if self.masks_too else size)[None]
            return Entry(pixels, _class_pixels(mask, self.columns - 1))

        return disk.fetch(path, f"mask {self.reading} {self.resize if self.masks_too else None} {size}", decoded)


def load_pairs(pairs: PairFiles, budget: CacheBudget, on_progress: Callable[[int], None] | None = None) -> Loaded:
    """Decodes all pairs once, in threads, and caches those that fit into `budget`: both of a pair or neither.

    on_progress: called with the number of pairs done.
    """
    paths = pairs.paths
    image_store, mask_store = PixelStore(budget, len(paths)), PixelStore(budget, len(paths))
    images: list[Tensor | None] = []
    masks: list[Tensor | None] = []
    counts: list[tuple[int, ...]] = []
    rows: list[int] = []
    failed: list[UnreadableImageError] = []
    sizes: list[tuple[int, int]] = []
    cached_sizes: list[tuple[int, ...]] = []
    image_files, mask_files = Rereading(), Rereading()

    def attempt(pair: tuple[Path, Path]) -> tuple[tuple[int, int], tuple[Entry, Entry] | UnreadableImageError]:
        states = state_of(pair[0]), state_of(pair[1])
        try:
            image = pairs.image(pair[0], budget.disk)
            height, width = image.numbers
            return states, (image, pairs.mask(pair[1], (height, width), budget.disk))
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
        Pixels(lambda row: pairs.image(image_files.path(row), budget.disk).pixels, images, image_store),
        Pixels(
            lambda row: pairs.mask(mask_files.path(row), sizes[row], budget.disk).pixels, masks, mask_store, fill=IGNORE
        ),
        torch.tensor(counts, dtype=torch.int64).reshape(-1, pairs.columns),
        torch.tensor(cached_sizes, dtype=torch.int64).reshape(-1, 2),
    )
    return Loaded(pixels, rows, failed, sizes)


def pairs_to_decode(pairs: PairFiles, budget: CacheBudget) -> Loaded:
    """Pairs that are decoded as they are needed, and cached if they fit into `budget`; some of them at once.

    Unusable pairs are found as they are met. Of scored images the headers are read.
    """
    paths = pairs.paths
    looked_at = load_pairs(replace(pairs, paths=paths[:: -(-len(paths) // _LOOKED_AT)]), budget.part(0))
    image_files, mask_files = Rereading(), Rereading()
    for image, mask in paths:
        image_files.add(image, state_of(image))
        mask_files.add(mask, state_of(mask))

    sizes = np.zeros((len(paths), 2), np.int32)  # as stored, of the images that have been read

    def read_image(row: int) -> Tensor:
        image = pairs.image(image_files.path(row), budget.disk)
        sizes[row] = image.numbers
        return image.pixels

    def read_mask(row: int) -> Tensor:
        if not sizes[row].all():
            read_image(row)
        height, width = sizes[row].tolist()
        return pairs.mask(mask_files.path(row), (height, width), budget.disk).pixels

    absent: list[Tensor | None] = [None] * len(paths)
    pixels = PairPixels(
        Pixels(read_image, absent, PixelStore(budget), budget=budget),
        Pixels(read_mask, absent.copy(), PixelStore(budget), fill=IGNORE, budget=budget),
        looked_at.pixels.class_pixels,
        None if pairs.masks_too else _sizes_from_headers(pairs),
    )
    return Loaded(pixels, list(range(len(paths))), looked_at.failed, looked_at.sizes)


def _sizes_from_headers(pairs: PairFiles) -> Tensor:
    def size(pair: tuple[Path, Path]) -> tuple[int, int]:
        _, width, height = kind_and_size(pair[0])
        return pairs.resized((height, width))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return torch.tensor(list(bounded_map(pool, size, pairs.paths)), dtype=torch.int64).reshape(-1, 2)


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
