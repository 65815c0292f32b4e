"""Figures of classifiers and of features against scikit-learn, torchmetrics and hand-worked cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics
from torchmetrics.classification import MulticlassCalibrationError

from snellen.insight.calibration import calibration
from snellen.insight.classification import figures, top_k_correct
from snellen.insight.confusion import confident_mistakes, confusion
from snellen.insight.differences import differences
from snellen.insight.projection import pca_by_epoch, tsne_by_epoch
from snellen.insight.separability import effective_rank, separability


@pytest.fixture
def predictions() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    target = generator.choice(7, 600, p=[0.4, 0.2, 0.1, 0.1, 0.1, 0.05, 0.05])
    logits = generator.normal(size=(600, 7)) + 1.5 * np.eye(7)[target]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return probabilities.astype(np.float32), target


def test_figures_are_sklearns(predictions: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, target = predictions
    predicted = probabilities.argmax(1)
    result = figures(probabilities, target)
    precision, recall, f1, support = metrics.precision_recall_fscore_support(target, predicted)
    assert [c.precision for c in result.classes] == pytest.approx(precision)
    assert [c.recall for c in result.classes] == pytest.approx(recall)
    assert [c.f1 for c in result.classes] == pytest.approx(f1)
    assert [c.support for c in result.classes] == support.tolist()
    assert result.top1 == metrics.accuracy_score(target, predicted)
    assert result.balanced == pytest.approx(metrics.balanced_accuracy_score(target, predicted))
    assert result.macro_f1 == pytest.approx(metrics.f1_score(target, predicted, average="macro"))
    assert result.top5 == metrics.top_k_accuracy_score(target, probabilities, k=5)
    for value, interval in ((result.balanced, result.balanced_interval), (result.macro_f1, result.macro_f1_interval)):
        assert interval.low < value < interval.high


def test_a_class_without_images_is_left_out_of_the_means() -> None:
    probabilities = np.array([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1]], dtype=np.float32)
    result = figures(probabilities, np.array([0, 1]))
    assert result.balanced == 1
    assert result.classes[2].support == 0
    assert result.classes[2].recall_interval is None


def test_ties_do_not_count_as_right() -> None:
    uniform = np.full((4, 8), 1 / 8, dtype=np.float32)
    assert top_k_correct(uniform, np.arange(4), 5).sum() == 0


def test_reliability_is_torchmetrics_and_sklearns(predictions: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, target = predictions
    expected = MulticlassCalibrationError(7, n_bins=15)(torch.from_numpy(probabilities), torch.from_numpy(target))
    result = calibration(probabilities, target)
    gaps = [b.images * abs(b.accuracy - b.confidence) for b in result.bins if b.accuracy is not None and b.confidence]
    assert sum(gaps) / 600 == pytest.approx(float(expected), abs=1e-5)
    assert sum(b.images for b in result.bins) == 600
    assert result.negative_log_likelihood == pytest.approx(metrics.log_loss(target, probabilities), rel=1e-5)


def test_confusion(predictions: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, target = predictions
    prediction = probabilities.argmax(1)
    result = confusion(prediction, target, 7)
    assert (result.counts == metrics.confusion_matrix(target, prediction)).all()
    true, predicted, images = result.pairs[0]
    assert images == np.where(np.eye(7, dtype=bool), 0, result.counts).max() == result.counts[true, predicted]


def test_mistakes_are_wrong_and_in_order(predictions: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, target = predictions
    result = confident_mistakes(probabilities, target, most=10)
    assert len(result) == 10
    assert all(m.prediction != target[m.row] == m.target for m in result)
    assert [m.confidence for m in result] == sorted((m.confidence for m in result), reverse=True)


def test_effective_rank_by_hand() -> None:
    """Features that use k directions equally have an effective rank of k (Roy & Vetterli 2007)."""
    corners = np.vstack([np.eye(8), -np.eye(8)])
    for rank in (1, 3, 8):
        features = np.zeros((16, 8), dtype=np.float32)
        features[:, :rank] = corners[:, :rank]
        assert effective_rank(features) == pytest.approx(rank)
    assert effective_rank(np.ones((5, 3), dtype=np.float32)) == 1
    for wrong in (np.nan, np.inf):
        assert np.isnan(effective_rank(np.full((5, 3), wrong, dtype=np.float32)))


def test_few_images_that_are_apart_are_their_own_neighbours() -> None:
    labels = np.repeat(np.arange(3), 4)
    result = separability(np.eye(3, dtype=np.float32)[labels], labels)
    assert (result.knn, result.neighbours) == (1.0, 3)


def test_separability_against_sklearn() -> None:
    from sklearn.model_selection import LeaveOneOut, cross_val_score
    from sklearn.neighbors import KNeighborsClassifier

    generator = np.random.default_rng(1)
    labels = np.repeat(np.arange(3), 30)
    features = (generator.normal(size=(90, 5)) + 1.2 * np.eye(5)[labels]).astype(np.float32)
    result = separability(features, labels)
    assert result.silhouette == pytest.approx(metrics.silhouette_score(features, labels, metric="cosine"), abs=1e-5)
    nearest = KNeighborsClassifier(result.neighbours, metric="cosine")
    assert result.knn == pytest.approx(cross_val_score(nearest, features, labels, cv=LeaveOneOut()).mean(), abs=0.04)


def test_projections_can_be_followed() -> None:
    """The same features, turned in their own space between epochs, give the same picture."""
    generator = np.random.default_rng(2)
    labels = np.repeat(np.arange(3), 20)
    features = generator.normal(size=(60, 10)) + 6 * np.eye(10)[labels]
    rotation, _ = np.linalg.qr(generator.normal(size=(10, 10)))
    first, second = pca_by_epoch([features.astype(np.float32), (features @ rotation).astype(np.float32)])
    np.testing.assert_allclose(first, second, atol=1e-4)
    first, second = tsne_by_epoch([features.astype(np.float32), (features @ rotation).astype(np.float32)])
    assert first.shape == second.shape == (60, 2)
    distance = np.linalg.norm(first - second, axis=1).mean()
    assert distance < 0.3 * np.linalg.norm(first - second[generator.permutation(60)], axis=1).mean()


FIELDS = st.dictionaries(st.sampled_from("abc"), st.integers(0, 3))


@given(FIELDS, FIELDS)
def test_differences_are_exactly_the_fields_that_differ(first: dict[str, int], second: dict[str, int]) -> None:
    result = {row.field: row.values for row in differences([{"part": first}, {"part": second}])}
    pairs = {f"part.{key}": (first.get(key), second.get(key)) for key in "abc"}
    assert result == {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def test_top5_has_the_interval_of_its_own_count(predictions: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, target = predictions
    hit_count = round(600 * metrics.top_k_accuracy_score(target, probabilities, k=5))
    expected = stats.binomtest(hit_count, 600).proportion_ci(method="wilson")
    ungrouped = figures(probabilities, target)
    assert ungrouped.top5_interval is not None
    assert (ungrouped.top5_interval.low, ungrouped.top5_interval.high) == pytest.approx((expected.low, expected.high))
    grouped = figures(probabilities, target, np.arange(600) % 30)
    assert grouped.top5 is not None
    assert grouped.top5_interval is not None
    assert grouped.top1 < grouped.top5_interval.low < grouped.top5 < grouped.top5_interval.high


def test_groups_widen_every_interval_that_images_alone_would_make_too_narrow() -> None:
    """Nine copies of each image, tied together: intervals are about those of the images, not of nine times as many."""
    generator = np.random.default_rng(5)
    target = generator.integers(0, 3, 240)
    probabilities = generator.dirichlet(np.ones(3), 240)
    probabilities[np.arange(240), target] += 0.35
    probabilities = (probabilities / probabilities.sum(1, keepdims=True)).astype(np.float32)
    copies, groups = np.repeat(np.arange(240), 9), np.repeat(np.arange(240), 9)

    def widths(*arguments: np.ndarray) -> np.ndarray:
        result, calibrated = figures(*arguments), calibration(*arguments)
        intervals = [
            result.top1_interval,
            result.balanced_interval,
            result.macro_f1_interval,
            calibrated.error_interval,
        ]
        intervals += [interval.recall_interval for interval in result.classes]
        intervals += [interval.accuracy_interval for interval in calibrated.bins if interval.images > 9 * 20]
        return np.array([interval.high - interval.low for interval in intervals if interval is not None])

    ungrouped, grouped = widths(probabilities, target), widths(probabilities[copies], target[copies], groups)
    copied = widths(probabilities[copies], target[copies])
    assert grouped[[0, 1, 2, 4, 5, 6]] == pytest.approx(ungrouped[:7][[0, 1, 2, 4, 5, 6]], rel=0.05)
    assert grouped[3] == pytest.approx(ungrouped[3], rel=0.3)
    assert (grouped > 2 * copied).all()
