"""A few of many, evenly spaced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")


def spread(items: Sequence[Item], most: int) -> tuple[Item, ...]:
    """At most so many of the items, evenly spaced, in their order."""
    rows = np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int)
    return tuple(items[row] for row in rows)
