"""Images for the tests of the augmentation."""

from __future__ import annotations

import pytest
import torch
from sklearn.datasets import load_sample_image
from torch import Tensor


@pytest.fixture(scope="session")
def photograph() -> Tensor:
    """(3, 427, 640) uint8, a real photograph."""
    return torch.from_numpy(load_sample_image("china.jpg").copy()).permute(2, 0, 1).contiguous()


@pytest.fixture(scope="session")
def flower() -> Tensor:
    """(3, 427, 640) uint8, another one."""
    return torch.from_numpy(load_sample_image("flower.jpg").copy()).permute(2, 0, 1).contiguous()
