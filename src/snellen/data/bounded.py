"""Work done ahead by threads, within bounded memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

_AHEAD = 4  # results per processor
Item = TypeVar("Item")
Result = TypeVar("Result")


def bounded_map(
    pool: ThreadPoolExecutor, function: Callable[[Item], Result], items: Iterable[Item], held: int | None = None
) -> Iterator[Result]:
    """Like pool.map, but only `held` results are held at a time; None: a few per processor."""
    remaining = iter(items)
    held = held or _AHEAD * (os.cpu_count() or 1)
    waiting = deque(pool.submit(function, item) for item in islice(remaining, held))
    while waiting:
        yield waiting.popleft().result()
        waiting.extend(pool.submit(function, item) for item in islice(remaining, 1))
