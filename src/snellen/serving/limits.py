"""What a server accepts, and how it refuses the rest."""

from __future__ import annotations

from dataclasses import dataclass

from snellen.errors import UserError


@dataclass(frozen=True)
class Limits:
    """upload: bytes of a request's body. pixels: of an image, by its header. queue: requests that are received, waiting
    or computed at the same time. seconds: for the head of a request, for its body, for its answer, and for a client to
    take that."""

    upload: int = 20_000_000
    pixels: int = 50_000_000
    queue: int = 32
    seconds: float = 30.0


class RefusedError(UserError):
    """A request that gets no answer. status: of HTTP. The message is a sentence for who sent it."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
