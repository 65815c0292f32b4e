"""Near copies in a set of images: candidates by descriptors, their alignment, and the set's own threshold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from snellen.data.copies.align import Pairs, align
from snellen.data.copies.descriptors import Descriptors, describe
from snellen.data.copies.hamming import bit_counts, near, radius_for
from snellen.data.copies.small import CENTRE, SIDE, WHOLE, is_flat, reduced
from snellen.data.copies.views import describe_copy
from snellen.insight.chance_pairs import dimension, expected_nearer, significant

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_FEWEST = 3
_EXPECTED = 10_000  # candidates that are different pictures, at most
_MOST = 4  # times as many candidates are verified
_REFERENCES = 2_000
_TRIED = 24  # references that are aligned with a picture
_NEIGHBOURS = 12  # of these, the nearest ones
_UNUSED = 254  # in place of a Hamming distance
_SAMPLE = 300  # pictures by which the dimension is estimated
_AT_ALL_NEAR = 0.7  # of the same distance: only such pairs can be no chance
_CLEARLY_NEAR = 0.3  # of the usual distance between a picture and a near reference: probably a copy, so not compared


@dataclass(frozen=True)
class NearPair:
    """first < second: rows. distance: as of `align`. expected: how many different pictures would be as near by chance.

    words: what was done to one of them, seen from the other.
    """

    first: int
    second: int
    distance: float
    expected: float
    words: str


@dataclass(frozen=True)
class _Candidates:
    """first < second, each pair once. distance, matrices: by the alignment of the small pictures, or the large ones."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    distance: NDArray[np.float64]
    picture: NDArray[np.int64]
    seen: NDArray[np.int64]
    matrices: NDArray[np.float32]

    def only(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> _Candidates:
        return _Candidates(**{name: values[rows] for name, values in vars(self).items()})


def near_pairs(pictures: NDArray[np.uint8], progress: Callable[[str], None] = lambda step: None) -> list[NearPair]:
    """Pairs of images of which one is a copy of the other: resized, compressed, recoloured, flipped, cropped, rotated.

    pictures: (n, 2, S, S) uint8 of `small_pictures`. progress: is told what is being done. The surest come first.

    A pair counts if it is far nearer than the different pictures of the same set are: of a random part of the set,
    those pictures that are most like each of the two are aligned with it as the pair was, and their distances say how
    many pictures of the set would be as near by chance (`insight.chance_pairs`). Pictures with hardly any contrast are
    in no pair.
    """
    small = reduced(pictures)
    rows = np.flatnonzero(~is_flat(small))
    if len(rows) < _FEWEST:
        return []
    large, small = (values if len(rows) == len(values) else values[rows] for values in (pictures, small))
    progress("describing images")
    described = [describe(small, picture) for picture in (WHOLE, CENTRE)]
    progress("looking for similar images")
    candidates = _candidates(small, described)
    progress("comparing with different images")
    references = _References(small, large, described)
    alone = _links(candidates, 0.0, len(rows))
    _, usual = references.neighbours(references.sample, alone)
    candidates = _refined(candidates.only(candidates.distance < _AT_ALL_NEAR), large)
    typical = float(np.median(usual[:, -1]))
    candidates = candidates.only(candidates.distance < _AT_ALL_NEAR * typical)
    links = _links(candidates, _CLEARLY_NEAR * typical, len(rows))
    power = dimension(references.neighbours(references.sample, links)[1])
    images = np.unique(np.concatenate([candidates.first, candidates.second]))
    neighbours = references.neighbours(images, links)[1]
    density = len(rows) / references.count
    expected = np.zeros(len(candidates.first))
    for side in (candidates.first, candidates.second):
        of_side = neighbours[np.searchsorted(images, side)]
        expected = np.maximum(expected, expected_nearer(candidates.distance, of_side, power, density))
    chosen = np.flatnonzero(significant(expected, len(rows)))
    return [
        NearPair(
            int(rows[candidates.first[pair]]),
            int(rows[candidates.second[pair]]),
            float(candidates.distance[pair]),
            float(expected[pair]),
            describe_copy(int(candidates.picture[pair]), candidates.matrices[pair]),
        )
        for pair in chosen[np.lexsort((candidates.distance[chosen], expected[chosen]))]
    ]


def _candidates(small: NDArray[np.uint8], described: list[Descriptors]) -> _Candidates:
    """Pairs with similar descriptors, aligned; of the two pictures of an image, by the nearer one."""
    expected = min(2 * len(small), _EXPECTED)
    parts = []
    for picture, of_picture in zip((WHOLE, CENTRE), described, strict=True):
        radius = radius_for(of_picture.base, of_picture.of_views, expected)
        near_ones = near(of_picture.base, of_picture.of_views, radius, _MOST * expected)
        matrices = _matrices(of_picture)[near_ones.view]
        other = near_ones.first + near_ones.second - near_ones.seen
        distance, matrices = align(small, Pairs(picture, near_ones.seen, other, matrices))
        pictures = np.full(len(other), picture)
        parts.append((near_ones.first, near_ones.second, distance, pictures, near_ones.seen, matrices))
    both = _Candidates(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    both = both.only(np.lexsort((both.distance, both.second, both.first)))
    is_new = np.append(True, (np.diff(both.first) != 0) | (np.diff(both.second) != 0))
    return both.only(is_new[: len(both.first)])


def _refined(candidates: _Candidates, large: NDArray[np.uint8]) -> _Candidates:
    """Candidates as aligned on the large pictures."""
    if large.shape[-1] == SIDE:
        return candidates
    distance, matrices = np.ones(len(candidates.first)), candidates.matrices.copy()
    for picture in (WHOLE, CENTRE):
        rows = np.flatnonzero(candidates.picture == picture)
        some = candidates.only(rows)
        pairs = Pairs(picture, some.seen, some.first + some.second - some.seen, some.matrices)
        distance[rows], matrices[rows] = align(large, pairs)
    return replace(candidates, distance=distance, matrices=matrices)


def _matrices(described: Descriptors) -> NDArray[np.float32]:
    """(V, 2, 3) of its views."""
    return np.stack([view.matrix for view in described.views]).astype(np.float32)


def _links(pairs: _Candidates, nearer: float, count: int) -> csr_array:
    """(n, n) sparse: true for pairs, in both orders, that are nearer than a distance, and for a picture and itself."""
    from scipy.sparse import coo_array

    some, alone = pairs.only(pairs.distance < nearer), np.arange(count)
    rows = np.concatenate([some.first, some.second, alone])
    columns = np.concatenate([some.second, some.first, alone])
    return coo_array((np.ones(len(rows), dtype=bool), (rows, columns)), shape=(count, count)).tocsr()


class _References:
    """A random part of a set, whose pictures are compared with others of the set.

    count: how many pictures that is. sample: rows of pictures by which the set is described.
    """

    def __init__(self, small: NDArray[np.uint8], large: NDArray[np.uint8], described: list[Descriptors]) -> None:
        self._small, self._large, self._described = small, large, described
        generator = np.random.default_rng(0)
        self.count = min(len(small), _REFERENCES)
        self._rows = np.sort(generator.choice(len(small), self.count, replace=False))
        self.sample = np.sort(generator.choice(len(small), min(len(small), _SAMPLE), replace=False))

    def neighbours(
        self, images: NDArray[np.int64], links: csr_array
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(N, K) distances, ascending, of some pictures from the K references that look most like them.

        On the small pictures, and on the large ones. links: (n, n) true where two pictures are not to be compared.
        """
        number = min(_TRIED, self.count - 1)
        nearest = np.full((len(images), number), 255, dtype=np.uint8)
        found = np.zeros((len(images), number, 3), dtype=np.int64)  # picture, view, reference
        columns = links.tocsc()[:, self._rows].tocsr()
        for picture, of_picture in zip((WHOLE, CENTRE), self._described, strict=True):
            base = of_picture.base[self._rows]
            for start in range(0, len(images), 256):
                block = slice(start, start + 256)
                least, view = _least(of_picture.of_views[:, images[block]], base)
                least[columns[images[block]].toarray()] = _UNUSED
                order = np.argsort(least, axis=1, kind="stable")[:, :number]
                new = np.stack(
                    [np.full_like(order, picture), np.take_along_axis(view, order, 1).astype(np.int64), order], axis=2
                )
                distances = np.concatenate([nearest[block], np.take_along_axis(least, order, 1)], axis=1)
                choices = np.concatenate([found[block], new], axis=1)
                best = np.argsort(distances, axis=1, kind="stable")[:, :number]
                nearest[block] = np.take_along_axis(distances, best, 1)
                found[block] = np.take_along_axis(choices, best[:, :, None], 1)
        return self._aligned(images, found, nearest)

    def _aligned(
        self, images: NDArray[np.int64], found: NDArray[np.int64], nearest: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        small, large = np.ones(nearest.shape), np.ones((len(images), min(_NEIGHBOURS, nearest.shape[1])))
        matrices = np.zeros((*nearest.shape, 2, 3), dtype=np.float32)
        for picture, of_picture in zip((WHOLE, CENTRE), self._described, strict=True):
            at = np.nonzero((found[:, :, 0] == picture) & (nearest < _UNUSED))
            _, view, reference = found[at].T
            pairs = Pairs(picture, images[at[0]], self._rows[reference], _matrices(of_picture)[view])
            small[at], matrices[at] = align(self._small, pairs)
        order = np.argsort(small, axis=1)[:, :_NEIGHBOURS]
        small, found, matrices = (
            np.take_along_axis(values, order.reshape(*order.shape, *[1] * (values.ndim - 2)), 1)
            for values in (small, found, matrices)
        )
        if self._large.shape[-1] == SIDE:
            return small, small
        for picture in (WHOLE, CENTRE):
            at = np.nonzero((found[:, :, 0] == picture) & (small < 1))
            pairs = Pairs(picture, images[at[0]], self._rows[found[at][:, 2]], matrices[at])
            large[at], _ = align(self._large, pairs)
        return small, np.sort(large, axis=1)


def _least(of_views: NDArray[np.uint64], base: NDArray[np.uint64]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """(N, M) each: the smallest Hamming distance between a view of each of N pictures and M others; the view."""
    least = np.full((of_views.shape[1], len(base)), 255, dtype=np.uint8)
    best = np.zeros_like(least)
    for number, words in enumerate(of_views):
        distance = bit_counts(words[:, None] ^ base)
        closer = distance < least
        least[closer], best[closer] = distance[closer], number
    return least, best
