"""Intervals of the means over classes, balanced accuracy and macro F1, of ungrouped images.

Wilson's interval for the number of images that corresponds to the figure's variance. If few images are wrong, their
variance is unreliable, and the number is moderated by its value if all images were equally likely to be wrong;
so an interval never has zero width. Square-and-add of the classes' Wilson limits would not work: their centres are all
biased towards one half, and with many small classes these biases add up.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from snellen.insight.proportions import Interval, score_interval

Floats = NDArray[np.float64]

_ERRORS = 2.0  # what the number of images that all are as likely to be wrong counts for
_MANY = 40  # images on which the variance rests, beyond which it counts for less


def balanced_interval(confusion: NDArray[np.int64]) -> Interval:
    """95% interval of the mean recall. confusion: (C, C) images by [truth, prediction]; classes without one left out.

    The variance is the mean over the classes of r (1 - r) / (n - 1), with r a recall and n its images, divided by the
    number of classes; a class of one image gets that of the mean. Only images that differ from most of their class say
    anything about it: if one class is always predicted, there are none.
    """
    support = confusion.sum(1)
    present = support > 0
    total, right = support[present].astype(np.float64), np.diagonal(confusion)[present]
    recall = right / total
    mean = float(recall.mean())
    alone = mean * (1 - mean)
    variances = np.where(total > 1, recall * (1 - recall) / np.maximum(1, total - 1), alone)
    return _moderated(
        mean,
        float(variances.sum()) / len(total) ** 2,
        worth_balanced(total),
        float(np.minimum(right, total - right).sum()),
    )


def macro_f1_interval(confusion: NDArray[np.int64]) -> Interval:
    """95% interval of the mean F1. confusion: (C, C) images by [truth, prediction]; classes without an image left out.

    The variance is the sum over images of the squared contribution of each to the figure, linearised (Takahashi et al.
    2022, Appl Intell 52:4961), with one pseudo-image in each class, right with the probability of all images.
    """
    support = confusion.sum(1).astype(np.float64)
    present = support > 0
    count = int(present.sum())
    size = support + confusion.sum(0)
    inverse = np.where(present, 1 / np.maximum(1, size), 0.0)
    f1 = 2 * np.diagonal(confusion) * inverse
    effect = -(f1 * inverse)[:, None] - (f1 * inverse)[None, :]
    np.fill_diagonal(effect, (2 - 2 * f1) * inverse)
    accuracy = float(np.trace(confusion) / support.sum())
    pseudo = np.full(confusion.shape, (1 - accuracy) / max(1, len(support) - 1))
    np.fill_diagonal(pseudo, accuracy)
    variance = float(((confusion + pseudo * present[:, None]) * effect**2).sum()) / count**2
    right = float(np.trace(confusion))
    fewer = min(right, float(support.sum()) - right)
    return _moderated(float(f1[present].mean()), variance, worth_f1(support[present]), fewer)


def worth_balanced(support: Floats) -> float:
    """Images that would make an accuracy as certain as the mean recall of these classes, all equally often wrong.

    support: (K,) images of each class, at least 1. The number of images if all classes have equally many.
    """
    return float(len(support) ** 2 / (1 / support).sum())


def worth_f1(support: Floats) -> float:
    """The same for the mean F1, if a wrong image is equally likely to be predicted as any other of the K classes.

    Mistaking class t for class u takes about 1 / (2 n_t) + 1 / (2 n_u) from the sum of the F1.
    """
    half = 1 / (2 * support)
    cost = half + (half.sum() - half) / max(1, len(support) - 1)
    return float(len(support) * (support * cost).sum() / (support * cost**2).sum())


def _moderated(mean: float, variance: float, worth: float, fewer: float) -> Interval:
    """fewer: how many images the variance rests on, wrong ones or right ones."""
    prior = _ERRORS / worth * min(1.0, _MANY / max(1, fewer))
    return score_interval(mean, (mean * (1 - mean) + prior) / (variance + prior / worth))
