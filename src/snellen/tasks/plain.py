"""A training loop as in a tutorial: a baseline for benchmarks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

from snellen.engine.optimizer import build_optimizer
from snellen.engine.recipe import CommonRecipe


def pil_image(path: Path) -> Image.Image:
    """An image as torchvision's default_loader reads it."""
    with path.open("rb") as file:
        return Image.open(file).convert("RGB")


def plain_loop(
    network: nn.Module,
    files: torch.utils.data.Dataset[Any],
    loss_of: Callable[[Any, torch.Tensor], torch.Tensor],
    recipe: CommonRecipe,
    device: torch.device,
) -> Iterator[int]:
    """fp32 and contiguous, one image at a time from a DataLoader. Yields the number of images of each step."""
    from torch.utils.data import DataLoader

    network.to(device)
    optimizer = build_optimizer(recipe.optimizer, network)
    batch_size = min(recipe.batch_size, len(files))  # type: ignore[arg-type]  # an incomplete batch would be dropped
    loader = DataLoader(files, batch_size=batch_size, shuffle=True, num_workers=torch.get_num_threads(), drop_last=True)
    for _ in itertools.count():
        for pixels, target in loader:
            loss = loss_of(network(pixels.to(device)), target.to(device))
            loss.backward()  # type: ignore[no-untyped-call]
            if recipe.optimizer.clip_norm is not None:
                nn.utils.clip_grad_norm_(network.parameters(), recipe.optimizer.clip_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            yield len(target)
