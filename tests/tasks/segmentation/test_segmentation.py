"""What the task makes of a network's output: loss of both heads, measures, scores at the masks' resolution."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snellen.data.masks.feed import MaskBatch
from snellen.models.segmenters.segmenter import Segmenter
from snellen.tasks.segmentation.losses import compute_segmentation_loss
from snellen.tasks.segmentation.recipe import SegmentationEvaluationSpec, SegmentationLossSpec
from snellen.tasks.segmentation.task import Segmentation, most_probable, network_logits, score_masks

CLASSES = 3


class Pointwise(Segmenter):
    """The smallest segmenter: a 1 x 1 convolution each for its head and its auxiliary head, or no auxiliary head."""

    stride = 4
    new = ("backbone.",)
    encoder_name = None

    def __init__(self, auxiliary: bool) -> None:
        super().__init__()
        self.backbone = nn.Conv2d(3, CLASSES, 1)
        self.auxiliary_head = nn.Conv2d(3, CLASSES, 1) if auxiliary else None

    def heads(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        assert all(side % 4 == 0 for side in images.shape[2:])
        return self.backbone(images), self.auxiliary_head(
            images
        ) if self.auxiliary_head is not None and self.training else None


@pytest.fixture
def batch() -> MaskBatch:
    """Three images of 6 x 7 px with masks of the same size, of which the last is all ignored."""
    torch.manual_seed(0)
    target = torch.randint(0, CLASSES, (3, 6, 7))
    target[2] = 255
    target[0, 0] = 255
    sizes = torch.tensor([[6, 7]] * 3)
    return MaskBatch(torch.randn(3, 3, 6, 7), target, sizes, sizes)


def task(feed: object, **fields: object) -> Segmentation:
    spec = SegmentationLossSpec.model_validate(fields)
    evaluation = SegmentationEvaluationSpec()
    return Segmentation(Path(), spec, None, CLASSES, feed, evaluation, np.arange(1))  # type: ignore[arg-type]


def test_loss_of_both_heads(batch: MaskBatch) -> None:
    model = Pointwise(auxiliary=True).train()
    loss, right = task(None, auxiliary=0.4).loss(model, batch)
    logits, auxiliary_head = (conv(batch.images) for conv in (model.backbone, model.auxiliary_head))
    spec = SegmentationLossSpec()
    main, extra = (
        compute_segmentation_loss(spec, head_logits, batch.target) for head_logits in (logits, auxiliary_head)
    )
    torch.testing.assert_close(loss, main + 0.4 * extra)
    is_scored = batch.target != 255
    share = (logits.argmax(1)[is_scored] == batch.target[is_scored]).float().mean()
    assert right.item() == pytest.approx(3 * share.item())
    main_only, _ = task(None, auxiliary=0).loss(model, batch)
    torch.testing.assert_close(main_only, main)


def single(batch: MaskBatch, row: int) -> MaskBatch:
    rows = slice(row, row + 1)
    return MaskBatch(batch.images[rows], batch.target[rows], batch.content_size[rows], batch.sizes[rows])


def test_parts_of_a_batch_count_by_their_scored_pixels(batch: MaskBatch) -> None:
    weights = [task(None).weight(single(batch, row)).item() for row in range(3)]
    assert weights == [35, 42, 0]
    assert task(None).weight(batch).item() == 77


def test_a_batch_without_a_scored_pixel(batch: MaskBatch) -> None:
    model = Pointwise(auxiliary=True).train()
    loss, right = task(None).loss(model, single(batch, 2))
    loss.backward()
    assert (loss.item(), right.item()) == (0, 0)
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


def test_most_probable_is_argmax() -> None:
    for logits in (torch.randn(2, 9, 40, 33), torch.randint(0, 3, (2, 9, 40, 33)).float()):  # the second one has ties
        assert most_probable(logits).equal(logits.argmax(1))


def test_scores_are_at_the_resolution_of_each_mask() -> None:
    """An image shown at half its mask's size, and a smaller one in the same batch; mirrored and averaged."""
    torch.manual_seed(1)
    model = Pointwise(auxiliary=True)
    images = torch.randn(2, 3, 8, 8)
    content_sizes, sizes = torch.tensor([[8, 6], [5, 8]]), torch.tensor([[16, 12], [10, 16]])
    target = torch.full((2, 16, 16), 255)
    for canvas, (height, width) in zip(target, sizes.tolist(), strict=True):
        canvas[:height, :width] = torch.randint(0, CLASSES, (height, width))
    batch = MaskBatch(images, target, content_sizes, sizes)
    scores = score_masks(
        network_logits(model, nullcontext, flip=True),
        iter([batch]),
        CLASSES,
        SegmentationEvaluationSpec(flip=True, tolerance=2),
    )
    loss = 0.0
    for row in range(2):
        (h, w), (height, width) = content_sizes[row].tolist(), sizes[row].tolist()
        with torch.no_grad():  # a 1 x 1 convolution: the mirrored image says the same, mirrored
            logits = model.eval()(images[row : row + 1])[:, :, :h, :w]
        large = F.interpolate(logits, (height, width), mode="bilinear", align_corners=False)
        truth = target[row, :height, :width]
        loss += F.cross_entropy(large, truth[None], reduction="sum").item()
        expected = np.zeros((CLASSES, CLASSES), int)
        np.add.at(expected, (truth.numpy(), large[0].argmax(0).numpy()), 1)
        np.testing.assert_array_equal(scores.confusion[row], expected)
    assert scores.loss == pytest.approx(loss, rel=1e-5)
    assert scores.per_image[0].shape == (2, CLASSES, 3)
    assert scores.per_image[0].dtype == np.dtype("<u4")


class Local(Segmenter):
    """Looks two pixels around each."""

    stride = 1
    new = ("backbone.",)
    encoder_name = None

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Conv2d(3, CLASSES, 5, padding=2)

    def heads(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.backbone(images), None


@pytest.mark.parametrize("size", [(250, 310), (170, 500)])
@pytest.mark.parametrize("flip", [False, True])
def test_scoring_a_scene_in_tiles_equals_scoring_it_whole(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], flip: bool
) -> None:
    """Confusion, boundaries across bands, and loss, of a mask of the image's size and of another one."""
    torch.manual_seed(2)
    model = Local()
    content_size = (160, 203)
    images = F.interpolate(torch.randn(1, 3, 20, 25), content_size, mode="bicubic")
    padded = F.pad(images, (0, -content_size[1] % 32, 0, -content_size[0] % 32))
    target = F.interpolate(torch.randint(0, CLASSES, (1, 1, 18, 23)).float(), size, mode="nearest")[:, 0].long()
    target[:, :9, :40] = 255
    for mask, mask_size in ((target, size), (target[:, : content_size[0], : content_size[1]], content_size)):
        batch = MaskBatch(padded, mask, torch.tensor([content_size]), torch.tensor([mask_size]))
        spec = SegmentationEvaluationSpec(flip=flip, tolerance=3)
        expected = score_masks(network_logits(model, nullcontext, spec.flip), iter([batch]), CLASSES, spec)
        with monkeypatch.context() as patch:
            patch.setattr("snellen.tasks.segmentation.task.LARGE", 96)
            patch.setattr("snellen.tasks.segmentation.task.TILE", 96)
            patch.setattr("snellen.tasks.segmentation.task.OVERLAP", 32)
            tiled = score_masks(network_logits(model, nullcontext, spec.flip), iter([batch]), CLASSES, spec)
        assert np.abs(expected.confusion - tiled.confusion).sum() <= 4  # pixels on a tie
        assert np.abs(expected.boundary - tiled.boundary).sum() <= 12
        assert tiled.loss == pytest.approx(expected.loss, rel=1e-4)
