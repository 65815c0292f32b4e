"""Images decoded once and cached as bytes, up to a memory limit."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from snellen.data.batch import ImageList, RawBatch
from snellen.data.bounded import bounded_map
from snellen.data.decode import UnreadableImageError, decode
from snellen.data.normalization import Triple
from snellen.data.rereading import Rereading, state_of
from snellen.data.store import CacheBudget, PixelStore

_STATISTICS_IMAGES = 5000


class Pixels:
    """Decoded images in a fixed order: all in memory, or as many as fit, the others decoded on demand.

    read: returns the image of a row, (C, h, w) uint8. cached: the images in memory, None for the others; the list is
    modified. fill: the value of padding in a batch. store: holds the images in memory. budget: for caching images that
    are decoded on demand; None: they are not cached. complete: whether all are in memory. Build one with `load_pixels`.
    """

    def __init__(
        self,
        read: Callable[[int], Tensor],
        cached: list[Tensor | None],
        store: PixelStore,
        fill: int = 0,
        budget: CacheBudget | None = None,
    ) -> None:
        self._read, self._cached, self._fill = read, cached, fill
        self._store, self._budget = store, budget
        self.complete = all(image is not None for image in cached)
        self._block = store.block if self.complete else None
        if self._block is not None:
            self._cached = [None] * len(cached)
        self._copies: Tensor | list[Tensor] | None = None
        self._pool = None if self.complete else ThreadPoolExecutor(os.cpu_count())

    @property
    def nbytes(self) -> int:
        """Bytes of the images in memory."""
        if self._block is not None:
            return self._block.nbytes
        return sum(image.nbytes for image in self._cached if image is not None)

    def __len__(self) -> int:
        return len(self._cached)

    @property
    def is_copied(self) -> bool:
        """Whether batches are made from copies on another device."""
        return self._copies is not None

    def copy_to(self, device: torch.device) -> None:
        """Copies the images, all of them in memory, to a device, for batches."""
        if self._block is not None:
            self._copies = self._block.to(device)
        else:
            self._copies = [self.image(row).to(device) for row in range(len(self))]

    def gather(self, rows: Tensor) -> RawBatch:
        """The images of `rows`, (B,) int64, as a batch: on the device that they are copied to, else on the CPU."""
        return self._block_of(rows) if self._block is not None else pad(self._images(rows), self._fill)

    def take(self, rows: Tensor) -> RawBatch | ImageList:
        """Like `gather`, but images of different sizes are returned as a list, without padding."""
        if self._block is not None:
            return self._block_of(rows)
        images = self._images(rows)
        return pad(images) if len({image.shape for image in images}) == 1 else ImageList(images)

    def image(self, row: int) -> Tensor:
        """The image of a row, (C, h, w) uint8."""
        if self._block is not None:
            return self._block[row]
        image = self._cached[row]
        if image is None:
            image = self._read(row)
            if self._budget is not None and self._budget.take(image.nbytes):
                self._cached[row] = image = self._store.put(image)
        return image

    def one_by_one(self, rows: Sequence[int]) -> Iterator[Tensor]:
        """The images of rows, in their order; only a few that must be decoded are held at a time."""
        return map(self.image, rows) if self._pool is None else bounded_map(self._pool, self.image, rows)

    def _block_of(self, rows: Tensor) -> RawBatch:
        assert self._block is not None
        block = self._copies if isinstance(self._copies, Tensor) else self._block
        pixels = block.index_select(0, rows.to(block.device))
        return RawBatch(pixels, torch.tensor(pixels.shape[2:]).expand(len(rows), 2), uniform=True)

    def _images(self, rows: Tensor) -> list[Tensor]:
        indices = rows.tolist()
        if isinstance(self._copies, list):
            return [self._copies[index] for index in indices]
        return list(map(self.image, indices) if self._pool is None else self._pool.map(self.image, indices))


def load_pixels(
    paths: Sequence[Path],
    read: Callable[[Path], Tensor] | None,
    budget: CacheBudget,
    on_progress: Callable[[int], None] | None = None,
) -> tuple[Pixels, list[UnreadableImageError]]:
    """Decodes all images once, in threads, and caches those that fit into `budget`.

    read: returns what is cached of a file, (3, h, w) uint8; None: `decode`, the whole image. on_progress: called with
    the number of images done. Unreadable images are listed and left out of the Pixels; the others keep their order.
    Images that are decoded again raise UserError if their file has changed.
    """
    read = read or decode
    store = PixelStore(budget, len(paths))
    cached: list[Tensor | None] = []
    readable = Rereading()
    unreadable: list[UnreadableImageError] = []

    def attempt(path: Path) -> tuple[int, Tensor | UnreadableImageError]:
        state = state_of(path)
        try:
            return state, read(path)
        except UnreadableImageError as error:
            return state, error

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = zip(paths, bounded_map(pool, attempt, paths), strict=True)
        for done, (path, (state, result)) in enumerate(results, start=1):
            if isinstance(result, UnreadableImageError):
                unreadable.append(result)
            else:
                cached.append(store.put(result) if budget.take(result.nbytes) else None)
                readable.add(path, state)
            if on_progress is not None and (done % 256 == 0 or done == len(paths)):
                on_progress(done)
    return Pixels(lambda row: read(readable.path(row)), cached, store), unreadable


def pad(images: Sequence[Tensor], fill: int = 0) -> RawBatch:
    """(C, h, w) uint8 images of any sizes as one batch, padded with the value `fill`: 0 is black."""
    sizes = torch.tensor([image.shape[1:] for image in images]).reshape(-1, 2)
    height, width = sizes.max(0).values.tolist()
    uniform = bool((sizes == sizes[0]).all())
    if uniform:
        return RawBatch(torch.stack(list(images)), sizes, uniform=True)
    shape = len(images), len(images[0]), height, width
    pixels = torch.full(shape, fill, dtype=torch.uint8, device=images[0].device)
    for canvas, image in zip(pixels, images, strict=True):
        canvas[:, : image.shape[1], : image.shape[2]] = image
    return RawBatch(pixels, sizes, uniform=False)


def channel_statistics(pixels: Pixels) -> tuple[Triple, Triple]:
    """Mean and standard deviation of red, green and blue in [0, 1], over all pixels of up to 5,000 images.

    The images are evenly spaced; sums are exact integers.
    """
    step = max(1, len(pixels) // _STATISTICS_IMAGES)
    count = 0
    total = torch.zeros(3, dtype=torch.int64)
    squares = torch.zeros(3, dtype=torch.int64)
    levels = torch.arange(256)  # histograms are (3, 256)
    for image in pixels.one_by_one(range(0, len(pixels), step)):
        histograms = torch.stack([torch.bincount(channel.flatten(), minlength=256) for channel in image])
        total += (histograms * levels).sum(1)
        squares += (histograms * levels**2).sum(1)
        count += image[0].numel()
    mean = total.double() / count
    variance = squares.double() / count - mean**2
    return _triple(mean / 255), _triple(variance.clamp(min=0).sqrt() / 255)


def _triple(values: Tensor) -> Triple:
    red, green, blue = values.tolist()
    return red, green, blue
