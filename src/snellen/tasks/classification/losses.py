"""Losses of classifiers."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from snellen.tasks.classification.recipe import LossSpec


def compute_loss(spec: LossSpec, logits: Tensor, target: Tensor) -> Tensor:
    """The loss of a batch, a scalar in nats.

    logits: (B, C) float32. target: (B,) int64 in [0, C), or (B, C) float32 distributions, rows sum to 1.
    """
    if spec.name == "poly1":
        return poly1(logits, target, spec.epsilon, spec.smoothing)
    return F.cross_entropy(logits, target, label_smoothing=spec.smoothing)


def poly1(logits: Tensor, target: Tensor, epsilon: float = 1.0, smoothing: float = 0.0) -> Tensor:
    """Poly-1 loss, the mean over images of  CE + epsilon * (1 - p_t).

    logits: (B, C) float. target: (B,) int64 in [0, C) or (B, C) distributions; for those p_t is the expected
    probability, sum_c target_c p_c. smoothing applies to both terms, as to a distribution.
    Source: Leng et al. 2022, arXiv 2204.12511, eq. 6; p_t is each image's own, not the batch's.
    """
    classes = logits.shape[1]
    distribution = F.one_hot(target, classes).to(logits.dtype) if target.ndim == 1 else target
    distribution = distribution * (1 - smoothing) + smoothing / classes
    log_p = logits.log_softmax(1)  # (B, C)
    cross_entropy = -(distribution * log_p).sum(1)
    p_t = (distribution * log_p.exp()).sum(1)
    return (cross_entropy + epsilon * (1 - p_t)).mean()
