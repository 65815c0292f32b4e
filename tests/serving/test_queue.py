"""Requests that are computed together: each gets its own answer, and memory is bounded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, wait
from threading import Event
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from snellen.serving import queue as queue_module
from snellen.serving.queue import JobQueue
from snellen.tasks.served import AbandonedError, IsWanted


class Network:
    """Sums of pixels; remembers how many it was given at once, and waits for `open` before it computes."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, ...]] = []
        self.open, self.entered = Event(), Event()

    def compute(self, images: Sequence[NDArray[np.uint8]], is_wanted: IsWanted) -> list[int]:
        self.entered.set()
        assert self.open.wait(60)
        self.calls.append((len(images), *images[0].shape))
        assert len({image.shape for image in images}) == 1
        return [int(image.sum()) for image in images]


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Iterator[JobQueue]:
    monkeypatch.setattr(queue_module.os, "cpu_count", lambda: 2)  # one computes while the other reads
    made = JobQueue(most_together=4, at_once=1)
    yield made
    made.close()


def image(value: int, side: int = 8) -> NDArray[np.uint8]:
    return np.full((side, side, 3), value, np.uint8)


def test_waiting_images_of_a_size_are_computed_together(queue: JobQueue) -> None:
    network = Network()
    first = queue.add(lambda: image(1, 4), 48, network.compute)
    assert network.entered.wait(60)
    read = [Event() for _ in range(12)]

    def reading(number: int) -> NDArray[np.uint8]:
        read[number].set()
        return image(number, 8 if number < 9 else 6)

    answers = [queue.add(lambda number=number: reading(number), 200, network.compute) for number in range(12)]
    for event in read:
        assert event.wait(60)
    queue.call(lambda: None).result(60)  # after all of them have been read
    network.open.set()
    assert first.result(60) == 48
    assert [answer.result(60) for answer in answers] == [n * 3 * (8 if n < 9 else 6) ** 2 for n in range(12)]
    assert sum(count for count, *_ in network.calls) == 13
    assert max(count for count, *_ in network.calls) <= 4
    assert network.calls[1] == (4, 8, 8, 3)


def test_other_computations_are_not_joined(queue: JobQueue) -> None:
    network = Network()
    network.open.set()
    other = [queue.add(lambda: image(2), 192, lambda images, _: [len(images)]) for _ in range(6)]
    assert [answer.result(60) for answer in other] == [1] * 6


def test_what_nobody_waits_for_is_left_out(queue: JobQueue) -> None:
    network = Network()
    first = queue.add(lambda: image(1), 192, network.compute)
    assert network.entered.wait(60)
    second = queue.add(lambda: image(2, 5), 75, network.compute)
    assert second.cancel()
    network.open.set()
    assert first.result(60) == 192
    third = queue.add(lambda: image(3, 5), 75, network.compute)
    assert third.result(60) == 225
    assert [shape for shape in network.calls if shape[1] == 5] == [(1, 5, 5, 3)]
    with pytest.raises(CancelledError):
        second.result(0)


def test_a_computation_ends_when_nobody_waits_any_more(queue: JobQueue) -> None:
    entered, ended = Event(), Event()

    def compute(images: Sequence[NDArray[np.uint8]], is_wanted: IsWanted) -> list[int]:
        entered.set()
        while is_wanted():
            ended.wait(0.001)
        ended.set()
        raise AbandonedError

    answer = queue.add(lambda: image(1), 192, compute)
    assert entered.wait(60)
    answer.cancel()
    assert ended.wait(60)
    network = Network()
    network.open.set()
    assert queue.add(lambda: image(1), 192, network.compute).result(60) == 192


def test_errors_reach_those_who_asked(queue: JobQueue) -> None:
    def fail(*_: Any) -> Any:
        raise ValueError("no")

    network = Network()
    network.open.set()
    with pytest.raises(ValueError, match="no"):
        queue.add(fail, 192, network.compute).result(60)
    with pytest.raises(ValueError, match="no"):
        queue.add(lambda: image(1), 192, fail).result(60)
    assert queue.add(lambda: image(1), 192, network.compute).result(60) == 192


def test_images_that_do_not_fit_into_memory_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module, "_MOST_BYTES", 1000)
    monkeypatch.setattr(queue_module.os, "cpu_count", lambda: 4)
    queue, network, most = JobQueue(4, at_once=1), Network(), 0
    network.open.set()

    def reading(side: int) -> NDArray[np.uint8]:
        nonlocal most
        most = max(most, queue._held)
        return image(1, side)

    sides = [8, 18, 8, 12, 18, 3, 18, 12] * 10  # 18 px are 972 bytes, and 30 px more than there may be
    answers = [queue.add(lambda side=side: reading(side), 3 * side**2, network.compute) for side in [*sides, 30]]
    assert wait(answers, 60).not_done == set()
    assert [answer.result() for answer in answers] == [3 * side**2 for side in [*sides, 30]]
    assert most <= 3 * 30**2
    assert queue._held == 0
    queue.close()
