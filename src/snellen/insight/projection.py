"""Features of the same images at several epochs, projected to the plane and aligned so that points can be followed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_DIMENSIONS = 50  # t-SNE works on the first principal components, as is usual

Floats = NDArray[np.float64]


def pca_by_epoch(features: Sequence[NDArray[np.float32]]) -> list[Floats]:
    """The first two principal components at each epoch, (n, 2), each rotated and mirrored to match the previous one.

    features: (n, D) for each epoch, of the same images. Each projection is scaled to a root mean square of 1.
    """
    pictures: list[Floats] = []
    for epoch in features:
        picture = _scaled(_components(epoch, 2))
        pictures.append(_aligned(picture, pictures[-1]) if pictures else picture)
    return pictures


def tsne_by_epoch(features: Sequence[NDArray[np.float32]], seed: int = 0) -> list[Floats]:
    """t-SNE at each epoch, (n, 2), started from the projection of the previous epoch and rotated to match it.

    features: as in `pca_by_epoch`, at least 10 images. Source: van der Maaten & Hinton 2008; openTSNE's implementation,
    perplexity 30 or a third of the images.
    """
    from openTSNE import TSNE

    pictures: list[Floats] = []
    for epoch in features:
        reduced = _components(epoch, _DIMENSIONS)
        start = pictures[-1] if pictures else _scaled(reduced[:, :2])
        tsne = TSNE(
            perplexity=min(30, max(2, (len(epoch) - 1) / 3)),
            initialization=start / max(1e-12, float(start.std())) * 1e-4,
            random_state=seed,
            n_jobs=1,  # more threads give other last digits, and little speed for a thousand points
        )
        picture = _scaled(np.asarray(tsne.fit(reduced)))
        pictures.append(_aligned(picture, pictures[-1]) if pictures else picture)
    return pictures


def _components(features: NDArray[np.float32], count: int) -> Floats:
    from sklearn.decomposition import PCA

    count = min(count, *features.shape)
    components: Floats = PCA(count, svd_solver="full").fit_transform(features.astype(np.float64))
    return np.pad(components, ((0, 0), (0, max(0, 2 - count))))


def _scaled(picture: Floats) -> Floats:
    centred = picture - picture.mean(0)
    return np.asarray(centred / max(1e-12, float(np.sqrt((centred**2).mean()))))


def _aligned(picture: Floats, reference: Floats) -> Floats:
    """The points rotated and mirrored, not stretched, to match the reference best (orthogonal Procrustes)."""
    from scipy.linalg import orthogonal_procrustes

    rotation, _ = orthogonal_procrustes(picture, reference)
    return np.asarray(picture @ rotation)
