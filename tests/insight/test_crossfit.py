"""Cross-fitted values: by hand, against a loop that asks every image, and the variance that they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from snellen.insight.crossfit import FOLDS, best_by_miou, best_by_share, crossfitted, partition

PATHS = [f"cat/{number:04}.jpg" for number in range(300)]


def test_by_hand() -> None:
    """Three folds in a circle: fold 1 chooses for fold 0, fold 2 for fold 1, fold 0 for fold 2."""
    folds = np.array([0, 0, 1, 1, 2, 2])
    correct = np.array([[1, 1, 0, 0, 0, 1], [0, 0, 1, 1, 1, 0], [1, 0, 1, 1, 1, 1]], dtype=bool)
    epochs = best_by_share(correct, folds)
    assert epochs.tolist() == [1, 2, 0]  # fold 1: epochs 1 and 2 have both right, the first is taken
    assert crossfitted(correct, folds, epochs).tolist() == [False, False, True, True, False, True]
    assert crossfitted(np.arange(18).reshape(3, 6), folds, epochs).tolist() == [6, 7, 14, 15, 4, 5]


def in_a_loop(correct: NDArray[np.bool_], folds: NDArray[np.int64]) -> list[bool]:
    """Whether each image is right at the epoch that training would keep on the images that choose for it."""
    count = max(folds) + 1
    values = []
    for image, fold in enumerate(folds):
        choosing = [(fold + step) % count for step in range(1, max(1, (count - 1) // 2) + 1)]
        best_epoch, best_score = 0, -1.0
        for epoch in range(len(correct)):
            score = correct[epoch, np.isin(folds, choosing)].mean()
            if score > best_score:
                best_epoch, best_score = epoch, score
        values.append(bool(correct[best_epoch, image]))
    return values


@settings(max_examples=40, deadline=None)
@given(epochs=st.integers(1, 6), images=st.integers(2, 60), grouped=st.booleans(), seed=st.integers(0, 1000))
def test_against_a_loop(epochs: int, images: int, grouped: bool, seed: int) -> None:
    generator = np.random.default_rng(seed)
    correct = generator.random((epochs, images)) < 0.6
    groups = np.arange(images) % max(2, images // 4) if grouped else None
    folds = partition(PATHS[:images], groups)
    values = crossfitted(correct, folds, best_by_share(correct, folds))
    assert values.tolist() == in_a_loop(correct, folds)
    # For masks the same, where a right image is all of one class's pixels and a wrong one none of them.
    counts = np.zeros((epochs, images, 1, 3), np.uint32)
    counts[..., 0, 0], counts[..., 0, 2] = correct, ~correct
    assert (best_by_miou(counts, folds) == best_by_share(correct, folds)).all()


def test_masks_are_chosen_by_the_miou_of_summed_pixels() -> None:
    """An epoch that is right about many pixels of one class loses to one that is right about both classes."""
    counts = np.zeros((3, 6, 2, 3), np.uint32)
    counts[0, :, 0, 0], counts[0, :, 1, 2] = 900, 100  # class 1 never: mIoU below 1/2
    counts[0, :, 0, 1] = 100
    counts[1, :, :, 0], counts[1, :, :, 1:] = [[800, 90]], 10
    folds = partition(PATHS[:6])
    epochs = best_by_miou(counts, folds)
    assert epochs.tolist() == [1] * 5  # and not epoch 2, which has no pixel at all
    assert (crossfitted(counts, folds, epochs) == counts[1]).all()


@given(st.integers(1, 300), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_folds_belong_to_the_images(images: int, seed: int) -> None:
    folds = partition(PATHS[:images])
    sizes = np.bincount(folds)
    assert sizes.max() - sizes.min() <= 1
    assert len(sizes) == min(FOLDS, images - (images > 2 and images % 2 == 0))
    order = np.random.default_rng(seed).permutation(images)
    assert (partition([PATHS[row] for row in order]) == folds[order]).all()


@given(st.integers(1, 60), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_groups_stay_whole(count: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    groups = np.repeat(np.arange(count), generator.integers(1, 6, count))
    paths = [f"{number}.jpg" for number in range(len(groups))]
    folds = partition(paths, groups)
    assert all(len(set(folds[groups == group])) == 1 for group in range(count))
    assert set(folds) == set(range(max(folds) + 1)), "no fold is empty"
    order = generator.permutation(len(groups))
    new_groups = generator.permutation(count)[groups[order]]
    assert (partition([paths[row] for row in order], new_groups) == folds[order]).all()


def test_an_epoch_that_is_best_everywhere_gives_its_own_values() -> None:
    generator = np.random.default_rng(0)
    correct = generator.random((5, 300)) < 0.5
    correct[3] |= generator.random(300) < 0.95
    folds = partition(PATHS)
    assert (crossfitted(correct, folds, best_by_share(correct, folds)) == correct[3]).all()


@pytest.mark.parametrize("epochs", [2, 10])
def test_the_sum_over_folds_has_the_variance_of_independent_images(epochs: int) -> None:
    """Epochs that differ by luck alone: unbiased, and no two folds depend on one another."""
    generator = np.random.default_rng(0)
    folds = partition(PATHS[:84])
    draws = generator.random((4000, epochs, 84)) < 0.5
    sums = np.array([crossfitted(correct, folds, best_by_share(correct, folds)).sum() for correct in draws])
    assert sums.mean() == pytest.approx(42, abs=0.3)
    assert sums.var() == pytest.approx(84 / 4, rel=0.1)  # 28 with two folds that choose for one another
