"""Losses of segmenters: means over the pixels of a batch that are scored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from snellen.data.masks.classes import IGNORE
from snellen.errors import UserError
from snellen.tasks.segmentation.recipe import SegmentationLossSpec, Term
from snellen.words import did_you_mean


def class_weights(
    spec: SegmentationLossSpec, classes: Sequence[str], pixels: NDArray[np.int64]
) -> NDArray[np.float64] | None:
    """(C,) weights of the classes, None if all are 1. pixels: (C,) training pixels of each class.

    Raises UserError for a name that is no class.
    """
    if spec.class_weights is None:
        return None
    if spec.class_weights == "balanced":
        return np.asarray(1 / np.log(1.02 + pixels / max(1, pixels.sum())))
    for name in spec.class_weights:
        if name not in classes:
            hint = did_you_mean(name, classes) or f" Classes: {', '.join(classes)}."
            raise UserError(f"loss.class_weights: there is no class '{name}'.{hint}")
    return np.array([spec.class_weights.get(name, 1.0) for name in classes])


def compute_segmentation_loss(
    spec: SegmentationLossSpec, logits: Tensor, target: Tensor, weights: Tensor | None = None
) -> Tensor:
    """The loss of a batch, a scalar; 0 with zero gradient when nothing is scored.

    logits: (B, C, H, W) float32. target: (B, H, W) int64 in [0, C) or 255, which is ignored. weights: (C,) float32, of
    the classes. A batch without any scored pixel has the loss 0.
    """
    terms = {name: weight for name, weight in spec.terms.items() if weight}
    total = logits.new_zeros(())
    if any(name in terms for name in ("cross_entropy", "poly1", "focal")):
        by_pixel = _pixel_losses(spec, terms, logits, target)  # (B, H, W), 0 where ignored
        total = total + (by_pixel * pixel_weights(target, weights)).sum() / total_weight(target, weights).clamp(
            min=1e-9
        )
    if "dice" in terms:
        total = total + terms["dice"] * dice(logits, target)
    if "lovasz" in terms:
        total = total + terms["lovasz"] * lovasz(logits, target)
    return total


def pixel_weights(target: Tensor, weights: Tensor | None) -> Tensor:
    """(B, H, W) float32: the weight of each pixel's class, 0 where it is ignored."""
    scored = target != IGNORE
    return scored.float() if weights is None else weights[target.where(scored, 0)] * scored


def total_weight(target: Tensor, weights: Tensor | None) -> Tensor:
    """The sum of the weights of the scored pixels, a scalar: what the mean over pixels is divided by."""
    return pixel_weights(target, weights).sum()


def _pixel_losses(spec: SegmentationLossSpec, terms: dict[Term, float], logits: Tensor, target: Tensor) -> Tensor:
    """The weighted sum of cross-entropy, Poly-1 and focal loss of each pixel.

    Sources: Poly-1: Leng et al. 2022, arXiv 2204.12511, eq. 6, with each pixel's own p, not the batch's. Focal: Lin
    et al. 2017, arXiv 1708.02002, eq. 4. Smoothing changes the target of cross-entropy and of Poly-1's p alike.
    """
    smoothing, classes = spec.smoothing, logits.shape[1]
    smoothed = F.cross_entropy(logits, target, ignore_index=IGNORE, reduction="none", label_smoothing=smoothing)
    total = (terms.get("cross_entropy", 0.0) + terms.get("poly1", 0.0)) * smoothed
    if "poly1" not in terms and "focal" not in terms:
        return total
    plain = smoothed
    if smoothing:
        plain = F.cross_entropy(logits, target, ignore_index=IGNORE, reduction="none")
    p_t = (-plain).exp()  # probability of the true class; 1 where ignored
    if "poly1" in terms:
        expected = (1 - smoothing) * p_t + smoothing / classes
        total = total + terms["poly1"] * spec.epsilon * (1 - expected) * (target != IGNORE)
    if "focal" in terms:
        total = total + terms["focal"] * (1 - p_t).clamp(min=1e-6) ** spec.gamma * plain
    return total


def dice(logits: Tensor, target: Tensor) -> Tensor:
    """1 - 2 |P T| / (|P| + |T|) with probabilities for P, the mean over the classes that the batch's pixels have.

    Sums run over all scored pixels of the batch. Arguments as in `compute_segmentation_loss`. A class without
    pixels is left out; smp's DiceLoss counts it as perfect.
    Source: Milletari et al. 2016, arXiv 1606.04797, without squares, for several classes.
    """
    classes = logits.shape[1]
    scored = (target != IGNORE).flatten(1)  # (B, P)
    label = target.flatten(1).where(scored, 0)
    p = logits.softmax(1).flatten(2)  # (B, C, P)
    p_t = p.gather(1, label[:, None])[:, 0] * scored  # summed in double precision: one class may fill the batch
    exact = sum_dtype(logits.device)
    overlap = p_t.new_zeros(classes, dtype=exact).index_add(0, label.flatten(), p_t.flatten().to(exact))
    size = torch.bincount(label[scored], minlength=classes)
    predicted = torch.einsum("bcp,bp->c", p, scored.to(p.dtype))
    loss = 1 - 2 * overlap / (predicted + size).clamp(min=1e-9)
    mean = (loss * (size > 0)).sum() / (size > 0).sum().clamp(min=1)
    return mean.to(logits.dtype)


def lovasz(logits: Tensor, target: Tensor) -> Tensor:
    """Lovász-Softmax: the continuous extension of 1 - IoU, the mean over the classes that the batch's pixels have.

    Arguments as in `compute_segmentation_loss`. Ranks are counted in integers: the same bits each time, on a GPU too.
    Source: Berman, Rannen Triki & Blaschko 2018, arXiv 1705.08790, algorithm 1. smp's LovaszLoss gives the same
    if something is scored, and fails if nothing is.
    """
    scored = target != IGNORE  # (B, H, W)
    truth = (_one_hot(target, logits.shape[1]) & scored[:, None]).transpose(0, 1).flatten(1)  # (C, P)
    p = logits.softmax(1).transpose(0, 1).flatten(1)
    errors = (truth.to(p.dtype) - p).abs().where(scored.flatten(), 0)  # ignored ones add nothing, and come last
    sorted_errors, order = errors.sort(dim=1, descending=True, stable=True)
    hits = truth.gather(1, order).long()
    size = hits.sum(1, keepdim=True)
    hits_so_far = hits.cumsum(1)
    rank = torch.arange(1, hits.shape[1] + 1, device=hits.device)
    union = (size + rank - hits_so_far).clamp(min=1)  # after the first `rank` errors
    jaccard = 1 - (size - hits_so_far).to(sum_dtype(logits.device)) / union
    steps = torch.cat([jaccard[:, :1], jaccard[:, 1:] - jaccard[:, :-1]], 1).to(p.dtype)
    present = size[:, 0] > 0
    loss: Tensor = ((sorted_errors * steps).sum(1) * present).sum() / present.sum().clamp(min=1)
    return loss


def sum_dtype(device: torch.device) -> torch.dtype:
    """The dtype of sums over many pixels: float64, except on Apple's GPUs, which lack it."""
    return torch.float32 if device.type == "mps" else torch.float64


def _one_hot(target: Tensor, classes: int) -> Tensor:
    """(B, C, H, W) bool; no class where the target is ignored."""
    return target[:, None] == torch.arange(classes, device=target.device)[:, None, None]
