"""Where decoded images lie in memory: in few large pieces, so that nothing is lost between them."""

from __future__ import annotations

import os
from threading import Lock

import torch
from torch import Tensor

from snellen.data.memory import free_memory

JOBS = "SNELLEN_JOBS"
"""Environment variable: how many runs share the memory of this machine, as `compare --jobs` starts them."""
_PIECE = 64 * 2**20  # bytes; what is not written of it takes no memory


class CacheBudget:
    """Bytes of decoded images that may be kept: one bound for all the sets of a run. Safe in several threads.

    limit_mib: MiB, and never more than half of the free memory, divided among runs side by side. whole: a budget that
    this one is a part of, in place of the free memory.
    """

    def __init__(self, limit_mib: int, whole: CacheBudget | None = None) -> None:
        limit = limit_mib * 2**20
        if whole is None:
            limit = min(limit, free_memory() // (2 * max(1, int(os.environ.get(JOBS, "1")))))
        self._left, self._whole, self._lock = limit, whole, Lock()

    def part(self, limit_mib: int) -> CacheBudget:
        """A budget with its own limit whose bytes are taken from this one too."""
        return CacheBudget(limit_mib, self)

    @property
    def left(self) -> int:
        """Bytes that can still be taken."""
        return self._left if self._whole is None else min(self._left, self._whole.left)

    def take(self, size: int) -> bool:
        """Takes so many bytes; False, and nothing is taken, where they are not left."""
        with self._lock:
            if self._left < size or (self._whole is not None and not self._whole.take(size)):
                return False
            self._left -= size
            return True


class PixelStore:
    """Copies of uint8 images, packed. Images of one shape come to lie in one block, which is filled directly.

    budget: says whether there may be a block; it is the caller's to take bytes from it. expected: how many images there
    will be at most; 0: no block is wanted. Safe in several threads.
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
        """(n, C, h, w): all images in the order in which they were put; None where they differ in shape."""
        return self._block[: self._filled] if self._block is not None and self._is_uniform else None

    def put(self, image: Tensor) -> Tensor:
        """A copy of an image, (C, h, w) uint8."""
        with self._lock:
            target = self._room_for(image)
        return target.copy_(image)

    def _room_for(self, image: Tensor) -> Tensor:
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
        if image.stride(0) == 1:  # decoded pixels are channels last; that is kept, since resizing heeds it
            return flat.view(height, width, channels).permute(2, 0, 1)
        return flat.view(image.shape)
