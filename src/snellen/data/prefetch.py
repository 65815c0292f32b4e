"""Batches made ahead of the step that needs them, where that saves time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from torch import Tensor

from snellen.data.bounded import bounded_map
from snellen.data.cache import Pixels

_BATCHES_AHEAD = 3
_SHARE_OF_GPU = 0.25  # of its free memory that images may take; the rest is for the network and its activations

Item = TypeVar("Item")


def produced(make: Callable[[int], Item], steps: range, device: torch.device, *images: Pixels) -> Iterator[Item]:
    """make(step), a dataclass with tensors on `device`, for each step; some are made ahead if that saves time.

    images: what the batches are made from. A GPU keeps a copy of them if they fit.
    """
    if device.type == "cuda":
        keep_on_gpu(images, torch.cuda.mem_get_info(device)[0], device)
        return on_own_stream(make, steps, device)
    # Other threads help where they hide decoding, or the copy to another device. On the CPU with all pixels in
    # memory they would only take a core away from the network.
    prefetch = device.type != "cpu" or not all(pixels.complete for pixels in images)
    return _ahead(make, steps) if prefetch else map(make, steps)


def keep_on_gpu(images: tuple[Pixels, ...], free: int, device: torch.device) -> None:
    """Copies images that are all in memory to the device, from which batches are then made, if they fit.

    free: bytes there. Done once: later calls find the copies.
    """
    absent = [pixels for pixels in images if pixels.complete and not pixels.is_copied]
    if sum(pixels.nbytes for pixels in absent) <= _SHARE_OF_GPU * free:
        for pixels in absent:
            pixels.copy_to(device)


def on_own_stream(make: Callable[[int], Item], steps: range, device: torch.device) -> Iterator[Item]:
    """Batches made ahead on a stream of their own: copies and augmentation run beside the network's work on a GPU.

    What the caller does with a batch waits on the device, not here, until the batch is there.
    """
    streams: Any = torch.get_device_module(device)
    own = streams.Stream(device)
    own.wait_stream(streams.current_stream(device))  # for the images and constants that are already there

    def made(step: int) -> tuple[Item, Any]:
        with streams.stream(own):
            return make(step), own.record_event()

    for item, ready in _ahead(made, steps):
        current = streams.current_stream(device)
        current.wait_event(ready)
        for tensor in _tensors_on(device, item):
            tensor.record_stream(current)  # else its memory is reused on its own stream while it is still read here
        yield item


def _tensors_on(device: torch.device, item: Any) -> Iterator[Tensor]:
    if device.type == "cuda":
        values = (getattr(item, field.name) for field in dataclasses.fields(item))
        yield from (value for value in values if isinstance(value, Tensor) and value.is_cuda)


def _ahead(make: Callable[[int], Item], steps: range) -> Iterator[Item]:
    """Two at a time, so that the images of one batch are decoded while those of another are augmented."""
    with ThreadPoolExecutor(2, thread_name_prefix="snellen-feed") as pool:
        yield from bounded_map(pool, make, steps, _BATCHES_AHEAD)
