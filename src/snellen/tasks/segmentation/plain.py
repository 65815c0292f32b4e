"""A baseline for benchmarks of segmentation: torchvision's transforms and its reference loss."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from snellen.data.masks.classes import IGNORE
from snellen.data.masks.decode import decode_mask
from snellen.data.masks.sources import MaskedSet
from snellen.models.segmenters.build import build_segmenter
from snellen.models.segmenters.segmenter import SegmenterOutput
from snellen.tasks.plain import pil_image, plain_loop
from snellen.tasks.segmentation.recipe import SegmentationRecipe


def plain_steps(recipe: SegmentationRecipe, images: MaskedSet, device: torch.device) -> Iterator[int]:
    """Trains in a standard tutorial way, with torchvision's loss: cross-entropy, half weight for an auxiliary head."""
    from_scratch = recipe.model.model_copy(update={"weights": None})
    network, _ = build_segmenter(from_scratch, len(images.classes), recipe.seed)

    def loss(output: torch.Tensor | SegmenterOutput, target: torch.Tensor) -> torch.Tensor:
        logits, auxiliary = output if isinstance(output, SegmenterOutput) else (output, None)
        total = nn.functional.cross_entropy(logits, target, ignore_index=IGNORE)
        if auxiliary is None:
            return total
        return total + 0.5 * nn.functional.cross_entropy(auxiliary, target, ignore_index=IGNORE)

    return plain_loop(network, _MaskFiles(images, recipe), loss, recipe, device)


class _MaskFiles(torch.utils.data.Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """The training images and masks, one at a time, through torchvision's transforms, with the recipe's crop."""

    def __init__(self, images: MaskedSet, recipe: SegmentationRecipe) -> None:
        from torchvision.transforms import v2

        spec = recipe.augmentation
        resize = [] if spec.resize is None else [v2.Resize(spec.resize, antialias=True)]
        crop = [] if spec.size is None else [v2.RandomCrop(spec.size, pad_if_needed=True)]
        flip = [v2.RandomHorizontalFlip(spec.flip)] if spec.flip else []
        self._both = v2.Compose([*resize, *crop, *flip] or [v2.Identity()])
        self._pixels = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.25] * 3)])
        self._reading = recipe.data.reading(images.classes)
        self._samples = [(images.root / sample.path, images.root / sample.mask) for sample in images.train]

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, torch.Tensor]:
        from torchvision import tv_tensors
        from torchvision.transforms.v2 import functional

        image, mask = self._samples[row]
        pixels, labels = self._both(
            tv_tensors.Image(functional.to_image(pil_image(image))),
            tv_tensors.Mask(decode_mask(mask, self._reading)),
        )
        return self._pixels(pixels), labels.long()
