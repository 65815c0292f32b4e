"""Random numbers that depend on where they are used, not on what ran before: the root of exact resume."""

from __future__ import annotations

import hashlib


def derive(seed: int, *purpose: str | int) -> int:
    """A seed in [0, 2^63) for one purpose, such as derive(0, "order", epoch); different purposes are independent.

    Every epoch's order and every step's augmentation and dropout start from their own derived seed, so a run that
    is resumed at any step draws the same numbers as one that was never stopped, with no generator state to save.
    """
    text = "\x1f".join([str(seed), *map(str, purpose)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
