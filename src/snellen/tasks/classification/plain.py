"""A baseline for benchmarks of classification: torchvision's transforms and cross-entropy."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from snellen.data.listing import ImageSet
from snellen.models.classifier import build_classifier
from snellen.tasks.classification.recipe import Recipe
from snellen.tasks.plain import pil_image, plain_loop


def plain_steps(recipe: Recipe, images: ImageSet, device: torch.device) -> Iterator[int]:
    """Trains in a standard tutorial way. Yields the number of images in each step."""
    network, _ = build_classifier(recipe.model, len(images.classes), recipe.augmentation.size, recipe.seed)
    return plain_loop(network, _Files(images, recipe), nn.functional.cross_entropy, recipe, device)


class _Files(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
    """The training images as torchvision's ImageFolder yields them, with the recipe's geometry."""

    def __init__(self, images: ImageSet, recipe: Recipe) -> None:
        from torchvision.transforms import v2

        spec = recipe.augmentation
        if spec.crop == "resized":
            geometry: list[nn.Module] = [v2.RandomResizedCrop(spec.size, spec.scale, spec.ratio, antialias=True)]
        else:
            resize = [] if spec.resize is None else [v2.Resize(spec.resize, antialias=True)]
            geometry = [*resize, v2.RandomCrop(spec.size, spec.padding)]
        rotation = [v2.RandomRotation(spec.rotation)] if spec.rotation else []
        scaled = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.25] * 3)]
        self._transform = v2.Compose([*geometry, *rotation, v2.RandomHorizontalFlip(), *scaled])
        self._samples = [(images.root / sample.path, sample.label) for sample in images.train]

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        path, label = self._samples[row]
        return self._transform(pil_image(path)), label
