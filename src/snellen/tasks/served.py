"""A network as the server sees it, which knows no task: functions from images to answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

IsWanted = Callable[[], bool]
"""Whether anyone still waits for the answers; long computations ask from time to time."""


class AbandonedError(Exception):
    """A computation ended early, since nobody waits for it."""


@dataclass(frozen=True)
class Answer:
    """What is said about an image. fields: for JSON. mask: an indexed PNG with a palette; None for classes alone."""

    fields: dict[str, Any]
    mask: bytes | None = None


@dataclass(frozen=True)
class Explanation:
    """Where a classifier looked. name: the class. layer, positions: what the map is of.

    view: (S, S, 3) uint8, the image as the network sees it. heat: (S, S) float32 in [0, 1]. correlation: of the map
    with that of random weights; None if one of them is constant.
    """

    name: str
    layer: str
    positions: int
    view: NDArray[np.uint8]
    heat: NDArray[np.float32]
    correlation: float | None


@dataclass(frozen=True)
class Served:
    """A network that answers requests.

    title: its name. measure: what the classes of an answer are listed by, "probability" or "share". calibration: as in
    an exported file's metadata; None if it gives no probabilities. top: how many classes are listed by default; None:
    all. schema: of an answer's classes, as in OpenAPI.
    read: from a decoded image, (H, W, 3) uint8 RGB, to the array that is kept of it until it is computed; in several
    threads at once. answers: for arrays of one shape, together; raises AbandonedError. most_together: how many arrays
    gain from that. at_once: how many calls of `answers` may run at the same time.
    bits: that 16-bit samples are read by; None: 16.
    explain: for an array and the name of a class, None for the most probable one; None: not possible, and
    why_not_explained is the reason, as a sentence.
    """

    title: str
    classes: list[str]
    measure: str
    calibration: str | None
    top: int | None
    schema: dict[str, Any]
    read: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
    answers: Callable[[Sequence[NDArray[np.uint8]], IsWanted], list[Answer]]
    most_together: int
    at_once: int
    bits: int | None = None
    explain: Callable[[NDArray[np.uint8], str | None], Explanation] | None = None
    why_not_explained: str = ""
