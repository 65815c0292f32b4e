"""Pairs of descriptors at a small Hamming distance, in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

_BITS = 64
_ALL_PAIRS = 3_000_000_000  # comparisons up to which every pair is compared
_BANDS = 24
_EXPANDED = 1 << 20  # comparisons at a time and thread
_SQUARE = 1 << 18  # the same if all pairs are compared: what stays in a processor's cache
_QUERIES = 1 << 16


@dataclass(frozen=True)
class Near:
    """Pairs of rows, first < second, each once, the nearest first.

    view: the view of `seen` that looks like the other one; seen: the row, first or second. distance: bits that differ.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    seen: NDArray[np.int64]
    view: NDArray[np.int64]
    distance: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.first)


def bit_counts(words: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """The number of set bits of each word."""
    if hasattr(np, "bitwise_count"):
        return np.asarray(np.bitwise_count(words), dtype=np.uint8)
    halves = words.view(np.uint16).reshape(*words.shape, 4)  # NumPy 1
    return np.asarray(_HALF_COUNTS[halves].sum(-1), dtype=np.uint8)


_HALF_COUNTS = np.unpackbits(np.arange(1 << 16, dtype=np.uint16).view(np.uint8).reshape(-1, 2), axis=1).sum(
    1, dtype=np.uint8
)


def near(base: NDArray[np.uint64], of_views: NDArray[np.uint64], radius: int, most: int) -> Near:
    """Pairs of different rows of which a view of one differs from the other in at most `radius` bits.

    base: (n,) uint64. of_views: (V, n) uint64. most: pairs that are kept, the nearest ones. All pairs are compared if
    these are at most 3e9; otherwise those that agree in all of w random bits, w being the integer part of log2(n), for
    24 choices of these bits. A pair that differs in k of the 64 bits is then missed with the probability
    (1 - C(64 - w, k) / C(64, k)) ** 24: calculated, 6% for a million rows and k = 6.
    """
    count = len(base)
    width = 0 if of_views.size * count <= _ALL_PAIRS else int(np.log2(count))
    best, new = np.empty((0, 2), dtype=np.int64), list[NDArray[np.int64]]()
    blocks = [(view, start) for view in range(len(of_views)) for start in range(0, count, _QUERIES)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for matches in _searches(base, of_views, radius, width):
            for pairs in pool.map(matches, blocks):
                new.append(pairs)
                if sum(map(len, new)) > most:
                    best, new = _nearest(np.concatenate([best, *new]), most), []
    best = _nearest(np.concatenate([best, *new]), most)
    return _unpacked(best, count, len(of_views))


def _searches(
    base: NDArray[np.uint64], of_views: NDArray[np.uint64], radius: int, width: int
) -> Iterator[Callable[[tuple[int, int]], NDArray[np.int64]]]:
    """Functions from a block of rows to pairs. width: bits in which pairs must agree; 0: all pairs are compared."""
    if not width:
        yield partial(_all_matches, base, of_views, radius)
        return
    generator = np.random.default_rng(0)
    for band in [np.sort(generator.choice(_BITS, width, replace=False)) for _ in range(_BANDS)]:
        yield partial(_matches, _Table.of(base, band), of_views, radius)


def _all_matches(
    base: NDArray[np.uint64], of_views: NDArray[np.uint64], radius: int, block: tuple[int, int]
) -> NDArray[np.int64]:
    """(m, 2) packed pairs of one view of some rows with any row. block: the view, the first row."""
    view, first = block
    count, result = len(base), list[NDArray[np.int64]]()
    step = max(1, _SQUARE // count)
    for start in range(first, min(first + _QUERIES, count), step):
        distance = bit_counts(of_views[view, start : start + step, None] ^ base)
        query, other = np.nonzero(distance <= radius)
        seen = start + query
        differ = seen != other
        packed = _packed(seen[differ], other[differ], view, distance[query, other][differ], count, len(of_views))
        result.append(packed)
    return np.concatenate(result) if result else np.empty((0, 2), dtype=np.int64)


@dataclass(frozen=True)
class _Table:
    """Rows by the value of some bits: those with the value v are order[starts[v] : starts[v + 1]]."""

    base: NDArray[np.uint64]
    band: NDArray[np.int64]
    order: NDArray[np.int32]
    starts: NDArray[np.int32]

    @classmethod
    def of(cls, base: NDArray[np.uint64], band: NDArray[np.int64]) -> _Table:
        """The table of some rows."""
        keys = _keys(base, band)
        order = np.argsort(keys, kind="stable").astype(np.int32)
        starts = np.concatenate([[0], np.cumsum(np.bincount(keys, minlength=1 << len(band)))]).astype(np.int32)
        return cls(base, band, order, starts)


def _keys(words: NDArray[np.uint64], band: NDArray[np.int64]) -> NDArray[np.int32]:
    """Some bits of each word, as a number: gathered byte by byte from tables."""
    keys = np.zeros(len(words), dtype=np.int32)
    values, columns = np.arange(256), words.view(np.uint8).reshape(-1, 8)
    for byte in range(8):
        places = [(place, bit - 8 * byte) for place, bit in enumerate(band.tolist()) if bit // 8 == byte]
        if places:
            table = sum(((values >> bit & 1) << place for place, bit in places), np.zeros(256, dtype=np.int64))
            keys |= table.astype(np.int32)[columns[:, byte]]
    return keys


def _matches(table: _Table, of_views: NDArray[np.uint64], radius: int, block: tuple[int, int]) -> NDArray[np.int64]:
    """(m, 2) packed pairs of one view of some rows. block: the view, the first row."""
    view, start = block
    words = of_views[view, start : start + _QUERIES]
    keys = _keys(words, table.band)
    first, counts = table.starts[keys], np.diff(table.starts)[keys].astype(np.int64)
    result = [
        _compared(table, words[some], start + some, first[some], counts[some], view, len(of_views), radius)
        for some in _portions(counts)
    ]
    return np.concatenate(result) if result else np.empty((0, 2), dtype=np.int64)


def _portions(counts: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Consecutive rows with about a million comparisons together."""
    rows = np.flatnonzero(counts)
    portion = np.cumsum(counts[rows]) // _EXPANDED
    yield from np.split(rows, np.flatnonzero(np.diff(portion)) + 1) if len(rows) else ()


def _compared(
    table: _Table,
    words: NDArray[np.uint64],
    rows: NDArray[np.int64],
    first: NDArray[np.int32],
    counts: NDArray[np.int64],
    view: int,
    views: int,
    radius: int,
) -> NDArray[np.int64]:
    query = np.repeat(np.arange(len(words)), counts)
    steps = np.arange(len(query)) - np.repeat(np.cumsum(counts) - counts, counts)
    other = table.order[first[query] + steps]
    distance = bit_counts(words[query] ^ table.base[other])
    close = np.flatnonzero(distance <= radius)
    seen, other = rows[query[close]], other[close].astype(np.int64)
    differ = seen != other
    return _packed(seen[differ], other[differ], view, distance[close][differ], len(table.base), views)


def _packed(
    seen: NDArray[np.int64],
    other: NDArray[np.int64],
    view: int,
    distance: NDArray[np.uint8],
    count: int,
    views: int,
) -> NDArray[np.int64]:
    """(m, 2): the pair as one number; its distance, view and order as another, which sorts by distance."""
    low, high = np.minimum(seen, other), np.maximum(seen, other)
    return np.stack([low * count + high, (distance.astype(np.int64) * views + view) * 2 + (seen == high)], axis=1)


def _nearest(pairs: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Each pair once, with its smallest distance; the nearest `most`."""
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    pairs = pairs[np.concatenate([[True], np.diff(pairs[:, 0]) > 0])[: len(pairs)]]
    return pairs[np.argsort(pairs[:, 1], kind="stable")[:most]]


def _unpacked(pairs: NDArray[np.int64], count: int, views: int) -> Near:
    first, second = np.divmod(pairs[:, 0], count)
    rest, is_second = np.divmod(pairs[:, 1], 2)
    distance, view = np.divmod(rest, views)
    return Near(first, second, np.where(is_second, second, first), view, distance)


def radius_for(base: NDArray[np.uint64], of_views: NDArray[np.uint64], expected: float) -> int:
    """The distance below which about `expected` pairs of different images are.

    From the distances of random pairs: their median and lower hundredth give the normal distribution whose tail is
    extrapolated, since the smallest distances themselves may be those of copies.
    """
    from scipy.stats import norm

    count = len(base)
    generator = np.random.default_rng(0)
    first, second = (generator.integers(count, size=min(1 << 18, 50 * count)) for _ in range(2))
    first, second = first[first != second], second[first != second]
    least = np.full(len(first), _BITS, dtype=np.uint8)
    for words in of_views:
        np.minimum(least, bit_counts(words[first] ^ base[second]), out=least)
    low, middle = np.quantile(least, [0.01, 0.5])
    share = min(0.5, 2 * expected / (count * (count - 1)))
    return max(0, int(middle - norm.isf(share) * max(middle - low, 1) / norm.isf(0.01)))
