"""Requests on their way to the network: decoded side by side, and computed together where their sizes allow."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Condition
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snellen.tasks.served import AbandonedError, IsWanted

Pixels = NDArray[np.uint8]
Compute = Callable[[Sequence[Pixels], IsWanted], Sequence[Any]]

_MOST_BYTES = 200_000_000  # of decoded images, waiting or computed; a larger one is alone
_JOINED_BYTES = 3_000_000  # of an image that is computed with others; decoding larger ones takes most of the time


@dataclass(eq=False)
class _Job:
    """read: the pixels. size: their bytes while they are read. pixels: None before and after. held: bytes in memory."""

    read: Callable[[], Pixels]
    size: int
    compute: Compute
    answer: Future[Any] = field(default_factory=Future)
    pixels: Pixels | None = None
    held: int = 0

    def joins(self, other: _Job) -> bool:
        """Whether it is computed together with another one."""
        assert self.pixels is not None
        assert other.pixels is not None
        is_small = self.pixels.nbytes <= _JOINED_BYTES
        return self.compute == other.compute and self.pixels.shape == other.pixels.shape and is_small

    @property
    def is_wanted(self) -> bool:
        """Whether somebody waits for it."""
        return not self.answer.cancelled()


class JobQueue:
    """One thread per core reads images, and computes those that have been read, the oldest first.

    An image that has been read waits behind the images that wait to be read: so the busier the server is, the more of
    them are computed together. Nobody waits for others to come. most_together: images in a call. at_once: calls of
    `compute` at the same time.
    """

    def __init__(self, most_together: int, at_once: int) -> None:
        self._most, self._at_once = most_together, at_once
        self._pool = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="answer")
        self._ready: deque[_Job] = deque()
        self._running = self._held = 0
        self._changed = Condition()

    def add(self, read: Callable[[], Pixels], size: int, compute: Compute) -> Future[Any]:
        """The answer for an image; if it is cancelled, what is not yet done is left out.

        read: its pixels, of `size` bytes. compute: answers for the pixels of several images of one shape.
        """
        job = _Job(read, size, compute)
        self._pool.submit(self._read, job)
        return job.answer

    def call(self, function: Callable[[], Any]) -> Future[Any]:
        """The result of a function that is no computation."""
        return self._pool.submit(function)

    def close(self) -> None:
        """Leaves out what has not been started."""
        self._pool.shutdown(cancel_futures=True)

    def _read(self, job: _Job) -> None:
        self._make_room(job)
        try:
            pixels = job.read() if job.is_wanted else None
        except BaseException as error:
            self._release([job])
            _settle(job, error)
            return
        if pixels is None:
            self._release([job])
            return
        with self._changed:
            job.pixels = pixels
            self._held += pixels.nbytes - job.held
            job.held = pixels.nbytes
            self._ready.append(job)
            self._changed.notify_all()
        self._pool.submit(self._compute)

    def _make_room(self, job: _Job) -> None:
        """Waits until its pixels fit into memory; meanwhile this thread computes, so that they will."""
        while True:
            with self._changed:
                if not self._held or self._held + job.size <= _MOST_BYTES:
                    self._held += job.size
                    job.held = job.size
                    return
                if not self._can_compute:
                    self._changed.wait()
                    continue
            self._compute()

    @property
    def _can_compute(self) -> bool:
        return bool(self._ready) and self._running < self._at_once

    def _compute(self) -> None:
        with self._changed:
            if not self._can_compute:
                return
            self._running += 1
            jobs = self._taken()
        try:
            self._answer([job for job in jobs if job.is_wanted])
        finally:
            with self._changed:
                self._running -= 1
                more = bool(self._ready)
                self._changed.notify_all()
            self._release(jobs)
        if more:
            self._pool.submit(self._compute)

    def _taken(self) -> list[_Job]:
        """The oldest one, and those that are computed with it."""
        first = self._ready.popleft()
        jobs = [first, *[job for job in self._ready if job.joins(first)][: self._most - 1]]
        for job in jobs[1:]:
            self._ready.remove(job)
        return jobs

    def _answer(self, jobs: list[_Job]) -> None:
        if not jobs:
            return
        try:
            pixels = [job.pixels for job in jobs if job.pixels is not None]
            answers = jobs[0].compute(pixels, lambda: any(job.is_wanted for job in jobs))
        except AbandonedError:
            return
        except BaseException as error:
            for job in jobs:
                _settle(job, error)
            return
        for job, answer in zip(jobs, answers, strict=True):
            _settle(job, answer)

    def _release(self, jobs: Sequence[_Job]) -> None:
        with self._changed:
            for job in jobs:
                self._held -= job.held
                job.pixels, job.held = None, 0
            self._changed.notify_all()


def _settle(job: _Job, result: Any) -> None:
    if not job.answer.set_running_or_notify_cancel():  # cancelled
        return
    if isinstance(result, BaseException):
        job.answer.set_exception(result)
    else:
        job.answer.set_result(result)
