"""HTTP by uvicorn and h11, with time limits that they lack, and refusals as JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


def limited(seconds: float) -> type[H11Protocol]:
    """The protocol with that many seconds for the head of a request, for the rest of a refused one, and for a client to
    take what has been sent. The body and the answer are limited by the application."""

    class Limited(_Limited):
        limit = seconds

    return Limited


class _Limited(H11Protocol):
    limit: float
    _reading: asyncio.TimerHandle | None = None
    _writing: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        for timer in (self._reading, self._writing):
            if timer is not None:
                timer.cancel()
        self._reading = self._writing = None

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_reading()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY:
            self._watch_reading()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._writing = self._writing or self._later(self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "This is not a valid HTTP request.")

    def _should_upgrade(self) -> bool:
        return False  # and does not advise to install WebSockets

    def _watch_reading(self) -> None:
        """Starts the clock if more of a head, or of a body that nobody waits for, has to come; stops it otherwise."""
        if self.transport.is_closing():
            return
        is_answered = self.cycle is not None and self.cycle.response_complete
        if self.conn.their_state is h11.IDLE:
            self._reading = self._reading or self._later(self._too_slow)
        elif self.conn.their_state is h11.SEND_BODY and is_answered:
            self._reading = self._reading or self._later(self.transport.close)
        elif self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _later(self, act: Callable[[], object]) -> asyncio.TimerHandle:
        return self.loop.call_later(self.limit, act)

    def _too_slow(self) -> None:
        self._refuse(408, f"The head of the request did not arrive within {self.limit:g} seconds.")

    def _refuse(self, status: int, sentence: str) -> None:
        """Answers, if nothing has been answered yet, and closes the connection."""
        if self.transport.is_closing():
            return
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            body = json.dumps({"error": sentence}).encode()
            headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"}
            head = h11.Response(status_code=status, headers=list(headers.items()))
            for event in (head, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
            if self.cycle is not None:
                self.cycle.disconnected = True  # or the application's own answer would fail
        self.transport.close()
