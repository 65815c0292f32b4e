"""Decoded images in memory, packed into a few large blocks to avoid fragmentation."""

from __future__ import annotations

import os
from threading import Lock

import torch
from torch import Tensor

from snellen.data.disk_cache import DiskCache
from snellen.data.memory import free_memory

JOBS = "SNELLEN_JOBS"
"""Environment variable: the number of runs sharing the memory of this machine, set by `compare --jobs`."""
_PIECE = 64 * 2**20  # bytes; pages that are never written take no memory


class CacheBudget:
    """Bytes of decoded images that may be cached: one limit for all sets of a run. Thread-safe.

    limit_mib: MiB, and never more than half of the free memory, divided among concurrent runs. parent: a budget that
    this one is a part of, in place of the free memory. disk: where images are kept between runs; None: nowhere.
    """

    def __init__(self, limit_mib: int, parent: CacheBudget | None = None, disk: DiskCache | None = None) -> None:
        limit = limit_mib * 2**20
        if parent is None:
            limit = min(limit, free_memory() // (2 * max(1, int(os.environ.get(JOBS, "1")))))
        self._left, self._parent, self._lock = limit, parent, Lock()
        self.disk = disk or DiskCache(0)

    def part(self, limit_mib: int, disk: DiskCache | None = None) -> CacheBudget:
        """A budget with a limit of its own whose bytes also count towards this one."""
        return CacheBudget(limit_mib, self, disk)

    @property
    def left(self) -> int:
        """Bytes still available."""
        return self._left if self._parent is None else min(self._left, self._parent.left)

    def take(self, size: int) -> bool:
        """Reserves `size` bytes; returns False, reserving nothing, if they are not available."""
        with self._lock:
            if self._left < size or (self._parent is not None and not self._parent.take(size)):
                return False
            self._left -= size
            return True


class PixelStore:
    """Packed copies of uint8 images. Images of equal shape are stored in a single block.

    budget: decides whether there may be a block; the caller reserves the bytes. expected: the largest possible number
    of images; 0: no block. Thread-safe.
    """

    def __init__(self, budget: CacheBudget, expected: int = 0) -> None:
        self._budget, self._expected = budget, expected
        self._block: Tensor | None = None
        self._filled = 0
        self._is_uniform = True
        self._piece, self._used = torch.empty(0, dtype=torch.uint8), 0
        self._lock = Lock()

    @property
    def block(self) -> Tensor | None:
        """(n, C, h, w): all images in the order in which they were stored; None if they differ in shape."""
        return self._block[: self._filled] if self._block is not None and self._is_uniform else None

    def put(self, image: Tensor) -> Tensor:
        """Stores a copy of an image, (C, h, w) uint8, and returns it."""
        with self._lock:
            target = self._allocate(image)
        return target.copy_(image)

    def _allocate(self, image: Tensor) -> Tensor:
        if self._expected and self._budget.left + image.nbytes >= self._expected * image.nbytes:
            self._block = torch.empty((self._expected, *image.shape), dtype=torch.uint8)
        self._expected = 0
        if self._block is not None and self._block.shape[1:] == image.shape and self._filled < len(self._block):
            self._filled += 1
            return self._block[self._filled - 1]
        self._is_uniform = False
        if self._used + image.nbytes > len(self._piece):
            self._piece, self._used = torch.empty(max(_PIECE, image.nbytes), dtype=torch.uint8), 0
        flat = self._piece[self._used : self._used + image.nbytes]
        self._used += image.nbytes
        channels, height, width = image.shape
        if (
            image.stride(0) == 1
        ):  # decoded pixels are channels-last; kept so, since the result of a resize depends on it
            return flat.view(height, width, channels).permute(2, 0, 1)
        return flat.view(image.shape)
