"""Segmentation: its loss in training, and its scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from snellen import ranks
from snellen.data.masks.classes import IGNORE
from snellen.data.masks.feed import LARGE, MaskBatch, MaskFeed
from snellen.engine.display import loss_text
from snellen.engine.task import Autocast
from snellen.insight.segmentation import counts_of, miou
from snellen.models.segmenters.segmenter import Segmenter, SegmenterOutput
from snellen.run.writer import RunWriter
from snellen.tasks.segmentation.boundary import boundary_counts
from snellen.tasks.segmentation.losses import compute_segmentation_loss, sum_dtype, total_weight
from snellen.tasks.segmentation.recipe import SegmentationEvaluationSpec, SegmentationLossSpec
from snellen.tasks.segmentation.record import COUNTS, MaskSnapshot, write_snapshot, write_validation
from snellen.tasks.segmentation.rescaled import Stretcher
from snellen.tasks.segmentation.tiling import ALIGN, OVERLAP, TILE, Blender, Block, plan_tiles

Logits = Callable[[Tensor, Tensor], Tensor]
"""Padded images (B, 3, H, W) float32 and their (B, 2) heights and widths without padding to logits (B, C, H, W)."""


@dataclass(frozen=True)
class MaskScores:
    """Predicted masks compared with true ones, for each image, at the resolution of the true masks.

    confusion: (N, C, C) int64 pixels by [truth, prediction]. boundary: (N, C, 4) int64 as `boundary_counts`. loss: the
    sum of the cross-entropy in nats over the scored pixels.
    """

    confusion: NDArray[np.int64]
    boundary: NDArray[np.int64]
    loss: float

    @property
    def fatal(self) -> str | None:
        """No score stops the run."""
        return None

    @property
    def finite(self) -> bool:
        """Whether the logits of all scored pixels are finite."""
        return math.isfinite(self.loss)

    @property
    def images(self) -> int:
        """N."""
        return len(self.confusion)

    @property
    def quality(self) -> float:
        """mIoU of the whole set; NaN if nothing is scored."""
        return miou(self.confusion)

    @property
    def per_image(self) -> tuple[NDArray[np.uint32]]:
        """(N, C, 3) true positive, false positive and false negative pixels."""
        return (counts_of(self.confusion).astype("<u4"),)

    def row(self) -> dict[str, float]:
        """Mean cross-entropy over the scored pixels, mIoU, and pixel accuracy."""
        scored = max(1, int(self.confusion.sum()))
        return {
            "validation_loss": self.loss / scored,
            "validation_miou": self.quality,
            "validation_pixel_accuracy": float(np.trace(self.confusion.sum(0))) / scored,
        }

    def text(self) -> str:
        """The same as text."""
        row = self.row()
        return (
            f"validation loss {loss_text(row['validation_loss'])}, mIoU {row['validation_miou']:.4f}, "
            f"pixel accuracy {row['validation_pixel_accuracy']:.2%}"
        )


@torch.inference_mode()
def score_masks(
    logits_of: Logits, batches: Iterator[MaskBatch], classes: int, spec: SegmentationEvaluationSpec
) -> MaskScores:
    """Scores of the images of `batches`, in their order; those larger than a tile, tile by tile.

    With several processes, `batches` are those dealt to this one, and the scores are those of all.
    """
    confusions: list[Tensor] = []
    boundaries: list[Tensor] = []
    losses: list[Tensor] = []
    tolerance = spec.tolerance
    for batch in batches:
        if _is_scene(batch):
            scores = _score_scene(batch, _scene_bands(logits_of, batch, classes, spec), classes, tolerance)
            for results, score in zip((confusions, boundaries, losses), scores, strict=True):
                results.append(score)
            continue
        logits = batch.at_target(logits_of(batch.images, batch.content_size))  # (B, C, H', W')
        exact = sum_dtype(logits.device)
        prediction = most_probable(logits)
        confusions.append(confusion_counts(prediction, batch.target, classes))
        boundaries.append(boundary_counts(prediction, batch.target, classes, tolerance))
        losses.append(F.cross_entropy(logits, batch.target, ignore_index=IGNORE, reduction="none").sum(dtype=exact))
    confusion, boundary = (ranks.in_order(counts).numpy() for counts in (confusions, boundaries))
    loss = ranks.in_order([loss.cpu().double().reshape(1) for loss in losses]).sum()
    return MaskScores(confusion, boundary, float(loss))


def _is_scene(batch: MaskBatch) -> bool:
    return len(batch) == 1 and int(batch.content_size.max()) > LARGE


def _scene_bands(
    logits_of: Logits, batch: MaskBatch, classes: int, spec: SegmentationEvaluationSpec
) -> Iterator[Block]:
    """Logits of one large image at the size of its mask, from top to bottom, with the same tiles as `predict`."""
    (height, width), size = batch.content_size[0].tolist(), batch.sizes[0].tolist()
    plan = plan_tiles(height, width, TILE, OVERLAP, math.lcm(ALIGN, spec.multiple))
    device = batch.images.device
    blender, stretcher = Blender(plan, classes, device), Stretcher((height, width), (size[0], size[1]))
    layout = torch.channels_last if batch.images.is_contiguous(memory_format=torch.channels_last) else None
    for tile in plan.tiles:
        image = torch.zeros(1, 3, *plan.size, device=device)
        part = batch.images[:, :, tile.top : tile.top + tile.height, tile.left : tile.left + tile.width]
        image[:, :, : tile.height, : tile.width] = part
        image = image.contiguous(memory_format=layout or torch.contiguous_format)
        yield from stretcher.add(blender.add(logits_of(image, torch.tensor([[tile.height, tile.width]]))[0]))


def _score_scene(
    batch: MaskBatch, bands: Iterator[Block], classes: int, tolerance: int
) -> tuple[Tensor, Tensor, Tensor]:
    """(1, C, C) confusion, (1, C, 4) boundary counts and the sum of the cross-entropy of one image, band by band."""
    target = batch.target
    confusion = torch.zeros(1, classes, classes, dtype=torch.int64, device=target.device)
    boundary = torch.zeros(1, classes, 4, dtype=torch.int64, device=target.device)
    loss = torch.zeros((), dtype=torch.double)
    prediction = torch.empty(target.shape, dtype=torch.uint8, device=target.device)
    edges = [0]
    for band in bands:
        edges.append(band.top + band.scores.shape[1])
        truth = target[:, edges[-2] : edges[-1]]
        labels = most_probable(band.scores[None])
        prediction[:, edges[-2] : edges[-1]] = labels.byte()
        confusion += confusion_counts(labels, truth, classes)
        entropy = F.cross_entropy(band.scores[None], truth, ignore_index=IGNORE, reduction="none")
        loss += entropy.sum().cpu().double()
    margin = tolerance + 1  # rows beyond a band that affect its boundary pixels
    for top, bottom in pairwise(edges):
        first = max(0, top - margin)
        context = slice(first, bottom + margin)
        inside = slice(top - first, bottom - first)
        boundary += boundary_counts(prediction[:, context], target[:, context], classes, tolerance, inside)
    return confusion, boundary, loss


def network_logits(model: Segmenter, autocast: Autocast, flip: bool) -> Logits:
    """`mask_logits` of a network, which is left in evaluation mode."""
    model.eval()
    return lambda images, _: mask_logits(model, images, autocast, flip)


def mask_logits(model: Segmenter, images: Tensor, autocast: Autocast, flip: bool) -> Tensor:
    """(B, C, H, W) float32 logits of normalised images, or the mean with those of their mirror images."""
    with autocast():
        logits = cast("Tensor", model(images)).float()
        if flip:
            logits = (logits + cast("Tensor", model(images.flip(-1))).float().flip(-1)) / 2
    return logits


def most_probable(logits: Tensor) -> Tensor:
    """(B, H, W) int64 classes of (B, C, H, W) logits; on the CPU several times as fast as the same argmax."""
    return logits.max(1).indices


def _pixel_accuracy(logits: Tensor, target: Tensor) -> Tensor:
    """Pixel accuracy: the share of the scored pixels whose class has the highest logit; 0 if none is scored."""
    scored = target != IGNORE
    true_logits = logits.gather(1, target.where(scored, 0)[:, None])[:, 0]
    return ((true_logits == logits.amax(1)) & scored).sum() / scored.sum().clamp(min=1)


def confusion_counts(prediction: Tensor, target: Tensor, classes: int) -> Tensor:
    """(B, C, C) int64 pixels by [truth, prediction] of each image.

    prediction: (B, H, W) int64 in [0, C). target: the same, or 255 where it is not scored. One pass of bincount.
    """
    images = len(target)
    ignored_cell = images * classes * classes
    cell = torch.add(prediction, target, alpha=classes)
    cell += torch.arange(0, ignored_cell, classes * classes, device=target.device)[:, None, None]
    cell.masked_fill_(target == IGNORE, ignored_cell)
    counts = torch.bincount(cell.flatten(), minlength=ignored_cell + 1)
    return counts[:ignored_cell].reshape(images, classes, classes)


class Segmentation:
    """One class for every pixel.

    writer: of the run, for weights, predictions and snapshots. weights: (C,) float32, of the classes in the loss.
    validation: the scored images. rows: (n,) int64, those whose predicted masks go into snapshots.
    """

    train_metric = "pixel_accuracy"
    columns = ("validation_loss", "validation_miou", "validation_pixel_accuracy")
    records = (COUNTS,)
    measure = "mIoU"

    def __init__(
        self,
        writer: RunWriter,
        loss: SegmentationLossSpec,
        weights: Tensor | None,
        classes: int,
        validation: MaskFeed,
        evaluation: SegmentationEvaluationSpec,
        rows: NDArray[np.int64],
    ) -> None:
        self._writer = writer
        self._loss = loss
        self._weights = None if weights is None else weights.to(validation.device)
        self._classes = classes
        self._validation = validation
        self._evaluation = evaluation
        self._rows = rows

    @property
    def uses_all_parameters(self) -> bool:
        """Not if the loss leaves the auxiliary head out."""
        return self._loss.auxiliary > 0

    def loss(self, model: nn.Module, batch: MaskBatch) -> tuple[Tensor, Tensor]:
        """The loss to minimise, a scalar, and the pixel accuracy of the batch times its number of images."""
        output = model(batch.images)
        logits, auxiliary = output if isinstance(output, SegmenterOutput) else (output, None)
        logits = logits.float()
        loss = compute_segmentation_loss(self._loss, logits, batch.target, self._weights)
        if auxiliary is not None and self._loss.auxiliary:
            auxiliary_loss = compute_segmentation_loss(self._loss, auxiliary.float(), batch.target, self._weights)
            loss = loss + self._loss.auxiliary * auxiliary_loss
        return loss, _pixel_accuracy(logits.detach(), batch.target) * len(batch)

    def weight(self, batch: MaskBatch) -> Tensor:
        """The weights of the scored pixels, which the loss is a mean over."""
        return total_weight(batch.target, self._weights)

    def after_step(self, model: Segmenter, step: int, total: int) -> None:
        """Does nothing."""

    @property
    def evaluated_images(self) -> int:
        """The number of scored images."""
        return self._validation.count

    def evaluate(self, model: Segmenter, autocast: Autocast, limit: int | None = None) -> MaskScores:
        """Scores on the validation images, or on the first `limit`; `model` is left in evaluation mode."""
        rows = None if limit is None else np.arange(min(limit, self.evaluated_images))
        batches = self._validation.evaluate(rows, dealt=True)
        logits_of = network_logits(model, autocast, self._evaluation.flip)
        return score_masks(logits_of, batches, self._classes, self._evaluation)

    def weights(self, model: Segmenter) -> nn.Module:
        """All of it."""
        return model

    def keep(self, model: Segmenter, evaluation: MaskScores, epoch: int) -> None:
        """Writes best.safetensors and the counts of the epoch that is now the chosen one."""
        self._writer.weights("checkpoints/best.safetensors", model, {"epoch": str(epoch)})
        write_validation(self._writer, evaluation.confusion, evaluation.boundary, epoch)

    @torch.inference_mode()
    def snapshot(self, model: Segmenter, autocast: Autocast, epoch: int) -> None:
        """Writes predicted masks of the chosen validation images, at the sizes of their true masks."""
        logits_of = network_logits(model, autocast, self._evaluation.flip)
        predicted: list[NDArray[np.uint8]] = []
        for batch in self._validation.evaluate(self._rows):
            if _is_scene(batch):
                bands = _scene_bands(logits_of, batch, self._classes, self._evaluation)
                masks = torch.cat([most_probable(band.scores[None]).byte() for band in bands], dim=1)
            else:
                masks = most_probable(batch.at_target(logits_of(batch.images, batch.content_size)))
            for mask, (height, width) in zip(masks.byte().cpu().numpy(), batch.sizes.tolist(), strict=True):
                predicted.append(mask[:height, :width])
        sizes = np.array([mask.shape for mask in predicted], np.int64)
        padded = np.full((len(predicted), *sizes.max(0)), IGNORE, np.uint8)
        for canvas, mask in zip(padded, predicted, strict=True):
            canvas[: mask.shape[0], : mask.shape[1]] = mask
        write_snapshot(self._writer, MaskSnapshot(padded, sizes, self._rows, epoch))
