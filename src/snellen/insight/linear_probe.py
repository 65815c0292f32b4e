"""A linear classifier on frozen features."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)
_MOST_FOR_SWEEP = 10_000
_HELD_OUT = 0.2
_ITERATIONS = 300


def linear_probe(
    features: NDArray[np.float32], labels: NDArray[np.int64], scored: NDArray[np.float32], classes: int, seed: int = 0
) -> NDArray[np.float32]:
    """Logistic regression on standardised features (M, D) with labels (M,), applied to `scored` (N, D).

    Returns (N, classes) probabilities, rows sum to 1.

    The L2 penalty is the best of five on a fifth of the labelled features, held out with all classes in proportion; the
    scored images play no part. Classes that no label names get probability 0. Raises ValueError for fewer than two.
    """
    from sklearn.linear_model import LogisticRegression

    present = np.unique(labels)
    if len(present) < 2:
        raise ValueError("a linear probe needs labels of at least two classes")
    mean, deviation = features.mean(0), np.maximum(features.std(0), 1e-6)
    standardised, scored_standardised = (features - mean) / deviation, (scored - mean) / deviation
    strength = _best_strength(standardised, labels, seed)
    fitted = LogisticRegression(C=strength, max_iter=_ITERATIONS).fit(standardised, labels)
    probabilities = np.zeros((len(scored_standardised), classes), np.float32)
    probabilities[:, present] = fitted.predict_proba(scored_standardised)
    return probabilities


def _best_strength(features: NDArray[np.float32], labels: NDArray[np.int64], seed: int) -> float:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split

    counts = np.bincount(labels)
    if counts[counts > 0].min() < 2 or len(labels) * _HELD_OUT < len(np.unique(labels)):
        return 1.0  # too few to hold any out
    rows = np.random.default_rng(seed).permutation(len(labels))[:_MOST_FOR_SWEEP]
    stratified = labels[rows] if np.unique(labels[rows], return_counts=True)[1].min() >= 2 else None
    fit, held_out = train_test_split(rows, test_size=_HELD_OUT, random_state=seed, stratify=stratified)

    def accuracy(strength: float) -> float:
        model = LogisticRegression(C=strength, max_iter=_ITERATIONS).fit(features[fit], labels[fit])
        return float(model.score(features[held_out], labels[held_out]))

    return max(_STRENGTHS, key=accuracy)  # of ties the strongest penalty
