"""Folds, and probabilities out of them, against what can be counted and scikit-learn."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import cross_val_predict

from snellen.insight.out_of_fold import assign_folds, comparable, out_of_fold, principal_components


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 8)), min_size=1, max_size=60), st.integers(0, 5))
def test_groups_share_a_fold(images: list[tuple[int, int]], seed: int) -> None:
    labels, groups = np.array(images, np.int64).T
    groups = np.unique(groups, return_inverse=True)[1].astype(np.int64)
    folds = assign_folds(labels, groups, seed)
    assert all(len(set(folds[groups == group])) == 1 for group in set(groups))
    assert set(folds) == set(range(min(5, len(set(groups)))))
    np.testing.assert_array_equal(folds, assign_folds(labels, groups, seed))
    for row, (label, fold) in enumerate(zip(labels, folds, strict=True)):
        assert comparable(labels, folds)[row] == any((labels == label) & (folds != fold))


@given(st.lists(st.integers(0, 3), min_size=5, max_size=80), st.integers(0, 5))
def test_folds_of_single_images_have_all_classes_in_proportion(classes: list[int], seed: int) -> None:
    labels = np.array(classes, np.int64)
    folds = assign_folds(labels, np.arange(len(labels)), seed)
    for rows in (np.ones(len(labels), bool), *(labels == label for label in set(classes))):
        counts = np.bincount(folds[rows], minlength=5)
        assert counts.max() - counts.min() <= 1


def test_the_probe_is_logistic_regression_and_finds_planted_labels() -> None:
    data = load_digits()
    features = principal_components(data.data.astype(np.float32))
    labels = data.target.astype(np.int64)
    draw = np.random.default_rng(0)
    wrong = draw.random(len(labels)) < 0.05
    labels[wrong] = (labels[wrong] + draw.integers(1, 10, int(wrong.sum()))) % 10
    folds = assign_folds(labels, np.arange(len(labels)), 0)
    told: list[tuple[int, int]] = []
    probabilities = out_of_fold(features, labels, folds, 11, progress=lambda done, total: told.append((done, total)))
    assert told == [(done, 11) for done in range(1, 12)]
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    assert not probabilities[:, 10].any()
    model = LogisticRegression(C=0.01, max_iter=300)
    splits = [(np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)) for fold in range(5)]
    reference = cross_val_predict(model, features, labels, cv=splits, method="predict_proba")
    rows = np.arange(len(labels))
    precision = average_precision_score(wrong, -probabilities[rows, labels])
    assert precision >= average_precision_score(wrong, -reference[rows, labels])
    assert precision > 0.9


def test_an_image_does_not_teach_its_own_probe() -> None:
    draw = np.random.default_rng(0)
    features = draw.normal(size=(200, 300)).astype(np.float32)  # any labels can be learnt by heart
    labels = draw.integers(0, 2, 200)
    folds = assign_folds(labels, np.arange(200), 0)
    right = (out_of_fold(principal_components(features), labels, folds, 2).argmax(1) == labels).mean()
    assert 0.3 < right < 0.65


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4)), min_size=2, max_size=12))
def test_few_images(images: list[tuple[int, int]]) -> None:
    labels, groups = np.array(images, np.int64).T
    groups = np.unique(groups, return_inverse=True)[1].astype(np.int64)
    folds = assign_folds(labels, groups, 0)
    if folds.max() == 0:
        return
    features = np.random.default_rng(0).normal(size=(len(labels), 4)).astype(np.float32)
    probabilities = out_of_fold(principal_components(features), labels, folds, 3)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    unknown = ~comparable(labels, folds)
    assert not probabilities[np.flatnonzero(unknown), labels[unknown]].any()
