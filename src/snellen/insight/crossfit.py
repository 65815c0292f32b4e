"""The score of a rule that chooses an epoch, on the images it chooses by: no image influences its own epoch.

The images are cut into K folds, in a circle. Each fold is scored at the epoch that is best on the (K - 1) / 2 folds
after it. At most one of two folds chooses for the other, which makes their scores uncorrelated: let fold j choose
for fold k and not vice versa; then k's images are independent of both choices and of j's images, so that
given these, k's score is right on average. The sum over folds therefore has the variance of the same number of
independent images, and Wilson's interval and McNemar's test are valid. With the usual choice on all other folds,
any two folds choose for each other: in simulation, the variance of the sum is up to twice as large with ten folds.

The price: choices use nearly half of the images, so the score is that of a rule that sees half as many.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snellen.insight.segmentation import iou, mean_over_classes

FOLDS = 21
Folds = NDArray[np.int64]


def partition(paths: Sequence[str], groups: NDArray[np.int64] | None = None, folds: int = FOLDS) -> Folds:
    """(N,) int64 fold of each image, in [0, K). Units are images, or whole groups; K is `folds` or, if there are
    fewer units, the largest odd number of folds that they fill (two units make two folds).

    paths: (N,) names of the images. A unit's fold depends on the hashes of these names alone, so that all runs on the
    same images have the same folds in whatever order the images come. Folds differ by one image at most; with groups,
    the largest come first and each goes to the fold with the fewest images.
    """
    images = len(paths)
    digests = [hashlib.blake2b(path.encode("utf-8", "surrogatepass"), digest_size=16).digest() for path in paths]
    order = np.array(sorted(range(images), key=lambda row: digests[row]), np.int64)
    unit = np.arange(images) if groups is None else np.unique(groups, return_inverse=True)[1]
    size = np.bincount(unit)
    count = min(folds, len(size))
    count -= count > 2 and count % 2 == 0  # an even number of folds would choose on fewer images
    by_hash = np.array(list(dict.fromkeys(unit[order].tolist())), np.int64)  # a group comes with its first image
    fold_of, load = np.zeros(len(size), np.int64), np.zeros(count, np.int64)
    for number in by_hash[np.argsort(-size[by_hash], kind="stable")]:
        fold_of[number] = load.argmin()
        load[fold_of[number]] += size[number]
    return np.asarray(fold_of[unit])


def best_by_share(correct: NDArray[np.bool_], folds: Folds) -> NDArray[np.int64]:
    """(K,) for each fold the first epoch, counted from 0, that has most of the images right that choose for it.

    correct: (E, N) for each scored epoch. folds: (N,) as from `partition`, at least two.
    """
    order, starts = _in_folds(folds)
    right = np.add.reduceat(correct[:, order], starts, axis=1, dtype=np.int64)  # (E, K)
    return np.asarray(_over_choosing_folds(right.T).argmax(1))


def best_by_miou(counts: NDArray[np.uint32], folds: Folds) -> NDArray[np.int64]:
    """(K,) for each fold the first epoch, counted from 0, with the highest mIoU on the images that choose for it.

    counts: (E, N, C, 3) for each scored epoch, in memory or mapped: one epoch is read at a time. folds: (N,), at least
    two. An epoch whose mIoU is NaN is never the best.
    """
    order, starts = _in_folds(folds)
    quality = []
    for epoch in counts:
        inside = np.add.reduceat(np.asarray(epoch)[order], starts, axis=0, dtype=np.int64)  # (K, C, 3)
        quality.append(mean_over_classes(iou(_over_choosing_folds(inside))))
    return np.asarray(np.nan_to_num(np.stack(quality), nan=-1).argmax(0))


def crossfitted(values: NDArray[Any], folds: Folds, chosen: NDArray[np.int64]) -> NDArray[Any]:
    """(N, …) the values of each image at the epoch that was chosen for its fold.

    values: (E, N, …), in memory or mapped: only the chosen epochs are read. folds: (N,). chosen: (K,).
    """
    result = np.empty(values.shape[1:], values.dtype)
    epochs = chosen[folds]
    for epoch in np.unique(epochs):
        rows = np.flatnonzero(epochs == epoch)
        result[rows] = values[epoch][rows]
    return result


def _in_folds(folds: Folds) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(N,) rows sorted by fold, and (K,) the start of each fold in them."""
    order = np.argsort(folds, kind="stable")
    return order, np.searchsorted(folds[order], np.arange(int(folds.max()) + 1))


def _over_choosing_folds(sums: NDArray[np.int64]) -> NDArray[np.int64]:
    """(K, …) for each fold the sum over the folds that choose its epoch, from (K, …) sums of each fold."""
    count = len(sums)
    cumulative = np.concatenate([sums, sums]).cumsum(0)  # twice around the circle
    return np.asarray(cumulative[np.arange(count) + max(1, (count - 1) // 2)] - cumulative[:count])
