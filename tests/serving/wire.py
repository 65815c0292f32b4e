"""Bytes to the server and back without sockets: the real protocol and the real application."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from snellen.serving.protocol import limited


class Wire(asyncio.Transport):
    """The other end of a connection: what has been sent, and whether it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.sent, self.is_closed = bytearray(), False
        self.protocol: H11Protocol | None = None

    def write(self, data: Any) -> None:
        self.sent += data

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            assert self.protocol is not None
            self.protocol.loop.call_soon(self.protocol.connection_lost, None)

    abort = close

    def is_closing(self) -> bool:
        return self.is_closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def connected(app: Any, seconds: float, loop: Any) -> tuple[H11Protocol, Wire]:
    """A connection to an application."""
    kind, wire = limited(seconds), Wire()
    config = uvicorn.Config(app, http=kind, ws="none", log_config=None, lifespan="off")
    config.load()
    protocol = kind(config, ServerState(), {}, loop)
    wire.protocol = protocol
    protocol.connection_made(wire)
    return protocol, wire


def exchange(app: Any, parts: Sequence[bytes], loop: asyncio.AbstractEventLoop, seconds: float = 10) -> bytes:
    """What the server sends for these bytes, after which the client closes. Raises RuntimeError for a bug."""
    problems: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: problems.append(logging.Formatter().format(record))  # type: ignore[method-assign]
    loop.set_exception_handler(lambda _, context: problems.append(repr(context.get("exception", context["message"]))))

    async def main() -> bytes:
        protocol, wire = connected(app, seconds, loop)
        for part in filter(None, parts):
            if not wire.is_closed:
                protocol.data_received(part)
                await asyncio.sleep(0)
        while protocol.tasks:
            if protocol.cycle.more_body:  # the rest does not come
                for _ in range(5):
                    await asyncio.sleep(0)
                break
            await asyncio.wait(set(protocol.tasks))
        wire.close()
        await asyncio.sleep(0)
        if protocol.tasks:
            await asyncio.wait(set(protocol.tasks))
        return bytes(wire.sent)

    logger = logging.getLogger("uvicorn.error")
    logger.addHandler(handler)
    try:
        sent = loop.run_until_complete(main())
    finally:
        logger.removeHandler(handler)
    if problems or b"HTTP/1.1 500" in sent:
        raise RuntimeError("\n".join(problems) or sent[:1000].decode("latin-1"))
    return sent
