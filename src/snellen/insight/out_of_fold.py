"""Class probabilities of labelled images by a probe that has not learnt from them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]

FOLDS = 5
_COMPONENTS = 256
_STRENGTHS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)  # C of scikit-learn
_ITERATIONS = 100
_MOST_FITTED = 50_000  # images that a fit learns from
_MOST_FOR_SWEEP = 10_000
_DOUBTFUL = 0.1  # of the likeliest class's probability: an image whose label has less teaches nothing in round two


def assign_folds(labels: Labels, groups: Labels, seed: int) -> Labels:
    """(N,) the fold of each image, at most 5 of them; images of a group share one.

    labels, groups: (N,) from 0. Each group, the largest first and else in a random order, goes to the fold that has the
    fewest images of its most frequent class, so that the folds are alike in their classes.
    """
    sizes = np.bincount(groups)
    pairs, counts = np.unique(np.stack([groups, labels], 1), axis=0, return_counts=True)
    by_count = np.argsort(counts, kind="stable")
    main = np.zeros(len(sizes), np.int64)
    main[pairs[by_count, 0]] = pairs[by_count, 1]  # of a group's classes the most frequent is written last
    order = np.random.default_rng(seed).permutation(len(sizes))
    order = order[np.lexsort((main[order], -sizes[order]))]
    number = min(FOLDS, len(sizes))
    of_class = [[0] * number for _ in range(int(labels.max()) + 1)]
    of_all = [0] * number
    folds = np.zeros(len(sizes), np.int64)
    for group in order.tolist():
        own = of_class[main[group]]
        fold = min(range(number), key=lambda index: (own[index], of_all[index]))
        folds[group] = fold
        own[fold] += int(sizes[group])
        of_all[fold] += int(sizes[group])
    return folds[groups]


def comparable(labels: Labels, folds: Labels) -> NDArray[np.bool_]:
    """(N,) whether another fold has an image of the same class, without which a probe cannot know the class."""
    counts = np.zeros((int(folds.max()) + 1, int(labels.max()) + 1), np.int64)
    np.add.at(counts, (folds, labels), 1)
    return np.asarray(counts.sum(0)[labels] > counts[folds, labels])


def principal_components(features: Floats) -> Floats:
    """(N, at most 256) the standardised features (N, D), projected onto their first principal components."""
    from sklearn.decomposition import PCA

    standardised = (features - features.mean(0)) / np.maximum(features.std(0), 1e-6)
    most = min(_COMPONENTS, *features.shape)
    if most == features.shape[1]:
        return np.asarray(standardised, np.float32)
    return np.asarray(PCA(most, svd_solver="covariance_eigh").fit_transform(standardised), np.float32)


def out_of_fold(
    features: Floats,
    labels: Labels,
    folds: Labels,
    classes: int,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Floats:
    """(N, classes) probabilities of each image by logistic regression on the images of the other folds.

    features: (N, D), as from `principal_components`. labels, folds: (N,). progress: is told how many of how many fits
    are done. Rows sum to 1; a class that the other folds do not have gets 0.

    The L2 penalty is the one with the greatest likelihood on the first fold. There are two rounds: in the second,
    images whose label got less than a tenth of the likeliest class's probability in the first do not teach, since a
    probe that learns wrong labels hides others like them.
    """
    number = int(folds.max()) + 1
    rows = np.arange(len(labels))
    total = 1 + 2 * number
    strength = _best_strength(features, labels, folds, seed)
    progress(1, total)
    probes = [_Probe(strength, seed) for _ in range(number)]
    probabilities = np.zeros((len(labels), classes), np.float32)
    teaches = np.ones(len(labels), np.bool_)
    for done in range(2 * number):
        fold = done % number
        if done == number:
            teaches = probabilities[rows, labels] >= _DOUBTFUL * probabilities.max(1)
        held_out = folds == fold
        probes[fold].fit(features, labels, _teaching(labels, ~held_out, teaches))
        probabilities[held_out] = probes[fold].probabilities(features[held_out], classes)
        progress(done + 2, total)
    return probabilities


def _teaching(labels: Labels, rest: NDArray[np.bool_], teaches: NDArray[np.bool_]) -> Labels:
    """Rows that a fit learns from: those that teach, and all of a class of which none would be left."""
    left = np.isin(labels, labels[rest & teaches])
    return np.flatnonzero(rest & (teaches | ~left))


class _Probe:
    """Logistic regression that starts from its last fit, as long as that had the same classes."""

    def __init__(self, strength: float, seed: int) -> None:
        self._strength, self._seed = strength, seed
        self._present: Labels = np.zeros(0, np.int64)
        self._model: LogisticRegression | None = None

    def fit(self, features: Floats, labels: Labels, rows: Labels, strength: float | None = None) -> None:
        """On some rows of the images."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        if len(rows) > _MOST_FITTED:
            rows = np.random.default_rng(self._seed).permutation(rows)[:_MOST_FITTED]
        present = np.unique(labels[rows])
        if self._model is None or not np.array_equal(present, self._present):
            self._model, self._present = LogisticRegression(max_iter=_ITERATIONS, warm_start=True), present
        if len(present) == 1:
            return
        self._model.set_params(C=strength or self._strength)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # more steps hardly change the ranking
            self._model.fit(features[rows], labels[rows])

    def probabilities(self, features: Floats, classes: int) -> Floats:
        """(n, classes), 0 for those that it has not learnt."""
        result = np.zeros((len(features), classes), np.float32)
        assert self._model is not None
        result[:, self._present] = 1 if len(self._present) == 1 else self._model.predict_proba(features)
        return result


def _best_strength(features: Floats, labels: Labels, folds: Labels, seed: int) -> float:
    """The strongest penalty whose next weaker one is less likely on the first fold."""
    some = np.sort(np.random.default_rng(seed).permutation(len(labels))[:_MOST_FOR_SWEEP])
    rest = some[folds[some] != 0]
    held_out = some[folds[some] == 0]
    held_out = held_out[np.isin(labels[held_out], labels[rest])]
    best, greatest = _STRENGTHS[len(_STRENGTHS) // 2], -np.inf
    if not len(held_out):
        return best
    probe, classes, each = _Probe(best, seed), int(labels.max()) + 1, np.arange(len(held_out))
    for strength in _STRENGTHS:
        probe.fit(features, labels, rest, strength)
        given = probe.probabilities(features[held_out], classes)[each, labels[held_out]]
        likelihood = float(np.log(np.maximum(given, 1e-12)).mean())
        if likelihood <= greatest:
            break
        best, greatest = strength, likelihood
    return best
