"""Images decoded once and kept as bytes, up to a bound."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from snellen.data.batch import ImageList, RawBatch
from snellen.data.decode import UnreadableImageError, decode
from snellen.data.memory import free_memory as free_memory
from snellen.data.normalization import Triple

_STATISTICS_IMAGES = 5000
Given = TypeVar("Given")
Result = TypeVar("Result")


class Pixels:
    """Decoded images in a fixed order: all in memory, or those that fit, the others decoded when they are asked for.

    read: gives the image of a row, (C, h, w) uint8. kept: the images in memory, None for those that are not; the list
    is taken over. fill: what lies beyond an image in a batch. room: bytes of images that are kept once they were asked
    for. complete: whether all are in memory. Build one with `load_pixels`.
    """

    def __init__(self, read: Callable[[int], Tensor], kept: list[Tensor | None], fill: int = 0, room: int = 0) -> None:
        self._read = read
        self._room = room
        self._kept = kept
        self._fill = fill
        self.complete = all(image is not None for image in kept)
        shapes = {image.shape for image in kept if image is not None}
        self._block = _as_block(kept) if self.complete and len(shapes) == 1 else None
        self._pool = None if self.complete else ThreadPoolExecutor(os.cpu_count())

    def __len__(self) -> int:
        return len(self._kept)

    def gather(self, rows: Tensor) -> RawBatch:
        """The images of `rows`, (B,) int64, as a batch."""
        return self._block_of(rows) if self._block is not None else pad(self._images(rows), self._fill)

    def take(self, rows: Tensor) -> RawBatch | ImageList:
        """As `gather`, but images of different sizes as a list, without padding."""
        if self._block is not None:
            return self._block_of(rows)
        images = self._images(rows)
        return pad(images) if len({image.shape for image in images}) == 1 else ImageList(images)

    def image(self, row: int) -> Tensor:
        """The image of a row, (C, h, w) uint8."""
        if self._block is not None:
            return self._block[row]
        image = self._kept[row]
        if image is None:
            image = self._read(row)
            if self._room >= image.nbytes:
                self._room -= image.nbytes
                self._kept[row] = image
        return image

    def _block_of(self, rows: Tensor) -> RawBatch:
        assert self._block is not None
        pixels = self._block.index_select(0, rows)
        return RawBatch(pixels, torch.tensor(pixels.shape[2:]).expand(len(rows), 2), uniform=True)

    def _images(self, rows: Tensor) -> list[Tensor]:
        wanted = rows.tolist()
        return list(map(self.image, wanted) if self._pool is None else self._pool.map(self.image, wanted))


def load_pixels(
    paths: Sequence[Path],
    read: Callable[[Path], Tensor] | None,
    limit_mib: int,
    on_progress: Callable[[int], None] | None = None,
) -> tuple[Pixels, list[UnreadableImageError]]:
    """Decodes all images once, in threads, and keeps what fits into `limit_mib` and into half of the free memory.

    read: gives what is kept of a file, (3, h, w) uint8; None: `decode`, the whole image. on_progress: called with the
    number of images done. Unreadable images are listed and are not among the Pixels; the others keep their order.
    """
    read = read or decode
    room = min(limit_mib * 2**20, free_memory() // 2)
    kept: list[Tensor | None] = []
    readable: list[Path] = []
    unreadable: list[UnreadableImageError] = []

    def attempt(path: Path) -> Tensor | UnreadableImageError:
        try:
            return read(path)
        except UnreadableImageError as error:
            return error

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, (path, result) in enumerate(zip(paths, bounded_map(pool, attempt, paths), strict=True), start=1):
            if isinstance(result, UnreadableImageError):
                unreadable.append(result)
            else:
                room -= result.nbytes
                kept.append(result if room >= 0 else None)
                readable.append(path)
            if on_progress is not None and (done % 256 == 0 or done == len(paths)):
                on_progress(done)
    return Pixels(lambda row: read(readable[row]), kept), unreadable


def pad(images: Sequence[Tensor], fill: int = 0) -> RawBatch:
    """(C, h, w) uint8 images of any sizes as one batch; beyond each image, what `fill` says: 0 is black."""
    sizes = torch.tensor([image.shape[1:] for image in images]).reshape(-1, 2)
    height, width = sizes.max(0).values.tolist()
    uniform = bool((sizes == sizes[0]).all())
    if uniform:
        return RawBatch(torch.stack(list(images)), sizes, uniform=True)
    shape = len(images), len(images[0]), height, width
    pixels = torch.full(shape, fill, dtype=torch.uint8, device=images[0].device)
    for place, image in zip(pixels, images, strict=True):
        place[:, : image.shape[1], : image.shape[2]] = image
    return RawBatch(pixels, sizes, uniform=False)


def channel_statistics(pixels: Pixels) -> tuple[Triple, Triple]:
    """Mean and standard deviation of red, green and blue in [0, 1], over all pixels of up to 5,000 images.

    The images are evenly spaced in the order; sums are exact integers.
    """
    step = max(1, len(pixels) // _STATISTICS_IMAGES)
    count = 0
    total = torch.zeros(3, dtype=torch.int64)
    squares = torch.zeros(3, dtype=torch.int64)
    levels = torch.arange(256)
    for row in range(0, len(pixels), step):
        image = pixels.image(row)
        histograms = torch.stack([torch.bincount(channel.flatten(), minlength=256) for channel in image])  # (3, 256)
        total += (histograms * levels).sum(1)
        squares += (histograms * levels**2).sum(1)
        count += image[0].numel()
    mean = total.double() / count
    variance = squares.double() / count - mean**2
    return _triple(mean / 255), _triple(variance.clamp(min=0).sqrt() / 255)


def _triple(values: Tensor) -> Triple:
    red, green, blue = values.tolist()
    return red, green, blue


def _as_block(kept: list[Tensor | None]) -> Tensor | None:
    images = [image for image in kept if image is not None]
    block = torch.empty((len(images), *images[0].shape), dtype=torch.uint8)
    for row, image in enumerate(images):
        block[row] = image
        kept[row] = None  # frees it at once: the whole set never lies in memory twice
        images[row] = block[row]
    return block


def bounded_map(
    pool: ThreadPoolExecutor, function: Callable[[Given], Result], items: Sequence[Given]
) -> Iterable[Result]:
    """pool.map, but never more than a few hundred results (decoded images) wait to be taken."""
    for start in range(0, len(items), 512):
        yield from pool.map(function, items[start : start + 512], chunksize=16)
