"""Advice for running out of memory, during training or while modes are timed before it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from snellen.errors import UserError

if TYPE_CHECKING:
    from snellen.engine.recipe import CommonRecipe


@contextmanager
def memory_explained(recipe: CommonRecipe, device: torch.device) -> Iterator[None]:
    """Turns running out of GPU or main memory into a UserError that says what helps."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        raise UserError(_advice(recipe, device)) from error


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return "DefaultCPUAllocator: can't allocate memory" in str(error)


def _advice(recipe: CommonRecipe, device: torch.device) -> str:
    accumulation = min(recipe.accumulation * 2, recipe.batch_size // 2)  # recipes refuse more
    splits = not recipe.whole_batch and accumulation > recipe.accumulation
    parts = f"accumulation={accumulation} (the same batch in smaller parts) or " if splits else ""
    return (
        f"the device {device} ran out of memory with batch_size={recipe.batch_size}. Try {parts}a smaller batch_size."
    )
