"""Figures of classifiers and of features against scikit-learn, torchmetrics and hand-worked cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics
from torchmetrics.classification import MulticlassCalibrationError

from snellen.insight.calibration import calibration
from snellen.insight.classification import figures, top_k_correct
from snellen.insight.confusion import confusion
from snellen.insight.differences import differences
from snellen.insight.mistakes import confident_mistakes
from snellen.insight.projection import pca_by_epoch, tsne_by_epoch
from snellen.insight.separability import effective_rank, separability


@pytest.fixture
def scored() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    target = generator.choice(7, 600, p=[0.4, 0.2, 0.1, 0.1, 0.1, 0.05, 0.05])
    logits = generator.normal(size=(600, 7)) + 1.5 * np.eye(7)[target]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return probabilities.astype(np.float32), target


def test_figures_are_sklearns(scored: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, target = scored
    chosen = probabilities.argmax(1)
    found = figures(probabilities, target)
    precision, recall, f1, support = metrics.precision_recall_fscore_support(target, chosen)
    assert [c.precision for c in found.classes] == pytest.approx(precision)
    assert [c.recall for c in found.classes] == pytest.approx(recall)
    assert [c.f1 for c in found.classes] == pytest.approx(f1)
    assert [c.support for c in found.classes] == support.tolist()
    assert found.top1 == metrics.accuracy_score(target, chosen)
    assert found.balanced == pytest.approx(metrics.balanced_accuracy_score(target, chosen))
    assert found.macro_f1 == pytest.approx(metrics.f1_score(target, chosen, average="macro"))
    assert found.top5 == metrics.top_k_accuracy_score(target, probabilities, k=5)
    for value, interval in ((found.balanced, found.balanced_interval), (found.macro_f1, found.macro_f1_interval)):
        assert interval.low < value < interval.high


@pytest.mark.slow
def test_macro_intervals_cover() -> None:
    """300 simulated validation sets: the bootstrap's intervals of balanced accuracy hold the truth in about 95%."""
    generator = np.random.default_rng(6)
    recalls = np.array([0.9, 0.7, 0.5])
    hits = 0
    for _ in range(300):
        target = generator.choice(3, 250, p=[0.5, 0.3, 0.2])
        right = generator.random(250) < recalls[target]
        probabilities = np.eye(3, dtype=np.float32)[np.where(right, target, (target + 1) % 3)]
        interval = figures(probabilities, target).balanced_interval
        hits += interval.low <= recalls.mean() <= interval.high
    assert hits / 300 == pytest.approx(0.95, abs=0.04)


def test_a_class_without_images_is_left_out_of_the_means() -> None:
    probabilities = np.array([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1]], dtype=np.float32)
    found = figures(probabilities, np.array([0, 1]))
    assert found.balanced == 1
    assert found.classes[2].support == 0
    assert found.classes[2].recall_interval is None


def test_ties_do_not_count_as_right() -> None:
    uniform = np.full((4, 8), 1 / 8, dtype=np.float32)
    assert top_k_correct(uniform, np.arange(4), 5).sum() == 0


def test_ece_is_torchmetrics(scored: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, target = scored
    expected = MulticlassCalibrationError(7, n_bins=15)(torch.from_numpy(probabilities), torch.from_numpy(target))
    found = calibration(probabilities, target)
    assert found.ece == pytest.approx(float(expected), abs=1e-5)
    assert sum(b.images for b in found.bins) == 600
    assert found.negative_log_likelihood == pytest.approx(metrics.log_loss(target, probabilities), rel=1e-5)


def test_confusion(scored: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, target = scored
    chosen = probabilities.argmax(1)
    found = confusion(chosen, target, 7)
    assert (found.counts == metrics.confusion_matrix(target, chosen)).all()
    true, taken, images = found.pairs[0]
    assert images == np.where(np.eye(7, dtype=bool), 0, found.counts).max() == found.counts[true, taken]


def test_mistakes_are_wrong_and_in_order(scored: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, target = scored
    found = confident_mistakes(probabilities, target, most=10)
    assert len(found) == 10
    assert all(m.prediction != target[m.row] == m.target for m in found)
    assert [m.confidence for m in found] == sorted((m.confidence for m in found), reverse=True)


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


def test_separability_against_sklearn() -> None:
    from sklearn.model_selection import LeaveOneOut, cross_val_score
    from sklearn.neighbors import KNeighborsClassifier

    generator = np.random.default_rng(1)
    labels = np.repeat(np.arange(3), 30)
    features = (generator.normal(size=(90, 5)) + 1.2 * np.eye(5)[labels]).astype(np.float32)
    found = separability(features, labels)
    assert found.silhouette == pytest.approx(metrics.silhouette_score(features, labels, metric="cosine"), abs=1e-5)
    nearest = KNeighborsClassifier(found.neighbours, metric="cosine")
    assert found.knn == pytest.approx(cross_val_score(nearest, features, labels, cv=LeaveOneOut()).mean(), abs=0.04)


def test_projections_can_be_followed() -> None:
    """The same features, turned in their own space between epochs, give the same picture."""
    generator = np.random.default_rng(2)
    labels = np.repeat(np.arange(3), 20)
    features = generator.normal(size=(60, 10)) + 6 * np.eye(10)[labels]
    turned, _ = np.linalg.qr(generator.normal(size=(10, 10)))
    first, second = pca_by_epoch([features.astype(np.float32), (features @ turned).astype(np.float32)])
    np.testing.assert_allclose(first, second, atol=1e-4)
    first, second = tsne_by_epoch([features.astype(np.float32), (features @ turned).astype(np.float32)])
    assert first.shape == second.shape == (60, 2)
    distance = np.linalg.norm(first - second, axis=1).mean()
    assert distance < 0.3 * np.linalg.norm(first - second[generator.permutation(60)], axis=1).mean()


FIELDS = st.dictionaries(st.sampled_from("abc"), st.integers(0, 3))


@given(FIELDS, FIELDS)
def test_differences_are_exactly_the_fields_that_differ(first: dict[str, int], second: dict[str, int]) -> None:
    found = {row.key: row.values for row in differences([{"part": first}, {"part": second}])}
    for key in "abc":
        pair = (first.get(key), second.get(key))
        assert found.get(f"part.{key}", (pair[0], pair[0])) == pair


def test_groups_widen_every_interval_that_images_alone_would_make_too_narrow() -> None:
    """Nine copies of each image, tied together: intervals are those of the images, not of nine times as many."""
    generator = np.random.default_rng(5)
    target = generator.integers(0, 3, 80)
    probabilities = generator.dirichlet(np.ones(3), 80)
    probabilities[np.arange(80), target] += 0.35
    probabilities = (probabilities / probabilities.sum(1, keepdims=True)).astype(np.float32)
    copies, groups = np.repeat(np.arange(80), 9), np.repeat(np.arange(80), 9)
    alone = figures(probabilities, target, np.arange(80)), calibration(probabilities, target, np.arange(80))
    tied = (
        figures(probabilities[copies], target[copies], groups),
        calibration(probabilities[copies], target[copies], groups),
    )
    assert tied[0].top1_interval == alone[0].top1_interval
    assert [c.recall_interval for c in tied[0].classes] == [c.recall_interval for c in alone[0].classes]
    assert tied[1].ece_interval.low == pytest.approx(alone[1].ece_interval.low)
    assert [b.accuracy_interval for b in tied[1].bins] == [b.accuracy_interval for b in alone[1].bins]
    free = figures(probabilities[copies], target[copies])
    for ours, theirs in zip(tied[0].classes, free.classes, strict=True):
        assert ours.recall_interval is not None
        assert theirs.recall_interval is not None
        width = ours.recall_interval.high - ours.recall_interval.low
        assert width > 2 * (theirs.recall_interval.high - theirs.recall_interval.low)
