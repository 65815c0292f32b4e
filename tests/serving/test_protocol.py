"""Time limits of connections, by a clock of the test's own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from benchmarks.bad_requests import GREEN
from tests.serving.stub import stub
from tests.serving.wire import connected, exchange

from snellen.serving.app import make_app
from snellen.serving.limits import Limits

HEAD = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n"
GOOD = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n%s" % (len(GREEN), GREEN)


class Clock:
    """Timers of a loop that never runs."""

    def __init__(self) -> None:
        self.timers: list[Timer] = []

    def call_later(self, seconds: float, act: Callable[..., object], *arguments: object) -> Timer:
        self.timers.append(Timer(seconds, act))
        return self.timers[-1]

    def call_soon(self, act: Callable[..., object], *arguments: object) -> None:
        act(*arguments)

    def create_task(self, coroutine: Any) -> Any:
        coroutine.close()
        return asyncio.Future(loop=asyncio.new_event_loop())

    def pass_time(self) -> None:
        waiting, self.timers = [timer for timer in self.timers if not timer.is_cancelled], []
        for timer in waiting:
            timer.act()

    @property
    def waiting(self) -> int:
        return sum(not timer.is_cancelled for timer in self.timers)


class Timer:
    def __init__(self, seconds: float, act: Callable[..., object]) -> None:
        self.seconds, self.act, self.is_cancelled = seconds, act, False

    def cancel(self) -> None:
        self.is_cancelled = True


@pytest.fixture
def app() -> Any:
    return make_app(stub(), Limits(upload=100_000, pixels=1_000_000, seconds=5))


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.mark.parametrize("part", [b"", b"POST", HEAD[:-2], b"POST / HTTP/1.1\r\nHost"])
def test_a_head_that_does_not_arrive_is_refused(part: bytes, app: Any) -> None:
    clock = Clock()
    protocol, wire = connected(app, 5, clock)
    if part:
        protocol.data_received(part)
    assert (clock.waiting, wire.is_closed) == (1, False)
    clock.pass_time()
    assert wire.is_closed
    head, _, body = bytes(wire.sent).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert "within 5 seconds" in json.loads(body)["error"]


def test_drops_of_a_head_do_not_gain_time(app: Any) -> None:
    clock = Clock()
    protocol, _ = connected(app, 5, clock)
    first = clock.timers[0]
    for letter in HEAD[:40]:
        protocol.data_received(bytes([letter]))
    assert clock.timers == [first]
    protocol.data_received(HEAD[40:])
    assert first.is_cancelled
    assert clock.waiting == 0


def test_a_client_that_does_not_read_is_dropped(app: Any) -> None:
    clock = Clock()
    protocol, wire = connected(app, 5, clock)
    protocol.data_received(HEAD)
    protocol.pause_writing()
    protocol.resume_writing()
    assert clock.waiting == 0
    protocol.pause_writing()
    clock.pass_time()
    assert wire.is_closed


def test_a_refused_body_is_taken_for_a_while_only(app: Any, loop: asyncio.AbstractEventLoop) -> None:
    """So that a client that sends it all before it reads finds the answer."""
    head = HEAD.replace(b"100", b"100001")

    async def main() -> None:
        protocol, wire = connected(app, 0.05, loop)
        protocol.data_received(head)
        await asyncio.wait(set(protocol.tasks))
        assert b" 413 " in wire.sent
        assert not wire.is_closed
        while not wire.is_closed:  # ends by itself, or the test's own time limit fails it
            protocol.data_received(b"x")
            await asyncio.sleep(0.01)

    loop.run_until_complete(main())


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (GOOD, b"200"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00", b"400"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /" + 100_000 * b"x" + b" HTTP/1.1\r\n\r\n", b"400"),
        (GOOD.replace(b"\r\n\r\n", b"\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", 1), b"200"),
        (HEAD.replace(b"Content-Length: 100", b"Transfer-Encoding: chunked") + b"zz\r\n", b"400"),
        (HEAD.replace(b"Content-Length: 100", b"Content-Length: many"), b"400"),
        (HEAD.replace(b"Content-Length: 100", b"Content-Length: " + 5000 * b"9"), b"400"),
        (HEAD.replace(b"POST /predict", b"GET /samples/" + 5000 * b"9"), b"404"),
        (HEAD.replace(b"/predict", b"/predict?top=" + 5000 * b"9"), b"400"),
        (HEAD.replace(b"POST /predict", b"GET /health") + 100 * b"x", b"200"),
    ],
)
def test_requests_get_an_answer_whatever_they_are(
    request_: bytes, status: bytes, app: Any, loop: asyncio.AbstractEventLoop
) -> None:
    sent = exchange(app, [request_], loop)
    assert sent.startswith(b"HTTP/1.1 " + status), sent[:200]
    if status != b"200":
        assert " " in json.loads(sent.partition(b"\r\n\r\n")[2])["error"]


def test_a_body_that_breaks_the_rules_while_it_is_awaited_is_refused_once(
    app: Any, loop: asyncio.AbstractEventLoop
) -> None:
    head = HEAD.replace(b"Content-Length: 100", b"Transfer-Encoding: chunked")
    for target in (b"/predict", b"/nothing", b"/health"):
        sent = exchange(app, [head.replace(b"/predict", target), b"5\r\nhello", b"zz\r\n"], loop)
        assert sent.count(b"HTTP/1.1 ") == 1


def test_several_requests_on_a_connection_are_answered_in_their_order(
    app: Any, loop: asyncio.AbstractEventLoop
) -> None:
    health = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    sent = exchange(app, [GOOD + health], loop)
    assert sent.count(b"HTTP/1.1 200") == 2
    assert sent.index(b"green") < sent.index(b"ok")
