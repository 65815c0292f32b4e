"""k-NN and linear probe against scikit-learn and cases that can be counted."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from snellen.insight.knn import knn_probabilities
from snellen.insight.linear_probe import linear_probe


def test_knn_is_scikit_learns() -> None:
    data = load_digits()
    features = data.data.astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    bank, queries = slice(0, 1200), slice(1200, None)
    reference = KNeighborsClassifier(10, metric="cosine", algorithm="brute", weights=lambda d: np.exp((1 - d) / 0.1))
    reference.fit(features[bank], data.target[bank])
    actual = knn_probabilities(features[bank], data.target[bank], features[queries], 10, 10, 0.1)
    np.testing.assert_allclose(actual, reference.predict_proba(features[queries]), atol=1e-4)


def test_knn_with_fewer_images_than_neighbours() -> None:
    bank = np.array([[1, 0], [0, 1]], np.float32)
    votes = knn_probabilities(bank, np.array([0, 2]), np.array([[3, 0]], np.float32), 3, 20, 0.5)
    weight = np.exp([0, -1 / 0.5])
    np.testing.assert_allclose(votes[0], [weight[0] / weight.sum(), 0, weight[1] / weight.sum()], rtol=1e-5)


def test_linear_probe_reads_what_is_linear_and_no_more() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(900, 6)).astype(np.float32)
    labels = (features @ rng.normal(size=(6, 3))).argmax(1)
    probe = linear_probe(features[:600], labels[:600], features[600:], 3)
    assert (probe.argmax(1) == labels[600:]).mean() > 0.93
    np.testing.assert_allclose(probe.sum(1), 1, rtol=1e-5)
    noise = linear_probe(features[:600], rng.permutation(labels[:600]), features[600:], 3)
    assert (noise.argmax(1) == labels[600:]).mean() < 0.55


def test_linear_probe_with_classes_that_no_label_names() -> None:
    features = np.array([[0.0], [0.1], [1.0], [1.1]], np.float32)
    probe = linear_probe(features, np.array([1, 1, 3, 3]), features, 5)
    assert probe.argmax(1).tolist() == [1, 1, 3, 3]
    assert (probe[:, [0, 2, 4]] == 0).all()
    with pytest.raises(ValueError, match="two classes"):
        linear_probe(features, np.zeros(4, np.int64), features, 5)
