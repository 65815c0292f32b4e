"""A batch in parts gives the gradient of the whole batch, also where an epoch's last batch is smaller."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from safetensors.torch import load_file
from tests.hardware import FP32, HARDWARE

from snellen import train
from snellen.data.feed import Batch
from snellen.data.masks.feed import MaskBatch
from snellen.engine.out_of_memory import memory_explained
from snellen.errors import UserError
from snellen.tasks.kinds import load_recipe

QUIET = Console(quiet=True)
CLASSES: dict[str, Any] = {
    "epochs": 1,
    "augmentation": {"size": 16},
    "evaluation": {"size": 16, "choose": "last"},
    "model": {"backbone": "test_resnet"},  # its last map is 1 x 1 px here
    "optimizer": {"name": "sgd", "lr": 0.01},
    "hardware": HARDWARE,
    "snapshots": {"images": 2},
}


@given(images=st.integers(1, 40), parts=st.integers(1, 20))
def test_no_part_is_empty_or_a_single_image(images: int, parts: int) -> None:
    rows = torch.arange(images)
    sizes = rows[:, None].expand(images, 2)
    batches = Batch(rows[:, None], rows, rows[:, None]), MaskBatch(rows[:, None], rows, sizes, sizes)
    for batch in batches:
        pieces = batch.split(parts)
        lengths = [len(piece) for piece in pieces]
        assert len(pieces) == min(parts, images // 2) or lengths == [images]
        assert min(lengths) >= min(images, 2)
        assert max(lengths) - min(lengths) <= 1
        assert torch.cat([piece.target for piece in pieces]).equal(rows)


@pytest.mark.parametrize(("batch_size", "accumulation"), [(25, 4), (19, 5), (101, 8)])  # rests of 2, 7 and 1
def test_last_batch_of_few_images(batch_size: int, accumulation: int, digits: Path, tmp_path: Path) -> None:
    """102 images: parts of nothing made the loss NaN, parts of one image are refused by batch-norm."""
    recipe = CLASSES | {"batch_size": batch_size, "accumulation": accumulation}
    run = train(digits, recipe, out=tmp_path / "run", console=QUIET)
    assert run.status.state == "finished"
    assert np.isfinite(run.steps()["loss"]).all()


@pytest.mark.parametrize("batch_size", [25, 19])
def test_parts_weigh_what_they_hold(batch_size: int, digits: Path, tmp_path: Path) -> None:
    """Without batch-norm in what is trained, the weights are those of whole batches but for rounding."""
    model = {"backbone": "airnet", "width": 0.125, "freeze": True, "cached": True}
    recipe = CLASSES | {"batch_size": batch_size, "epochs": 3, "model": model, "hardware": FP32}
    whole_batch, parts = (
        train(digits, recipe | {"accumulation": number}, out=tmp_path / str(number), console=QUIET) for number in (1, 4)
    )
    np.testing.assert_allclose(parts.steps()["loss"], whole_batch.steps()["loss"], rtol=1e-4)
    heads = [load_file(run.path / "checkpoints" / "last.safetensors") for run in (whole_batch, parts)]
    for name, tensor in heads[0].items():
        torch.testing.assert_close(heads[1][name], tensor, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("batch_size", "accumulation"), [(9, 4), (6, 3), (8, 3)])  # rests of 2, 5 and 3
def test_last_batch_of_few_masks(batch_size: int, accumulation: int, scenes: Path, tmp_path: Path) -> None:
    recipe = {
        "task": "segmentation",
        "epochs": 1,
        "batch_size": batch_size,
        "accumulation": accumulation,
        "augmentation": {"size": 32},
        "model": {"architecture": "deeplabv3plus/test_resnet"},  # pools to 1 x 1 px, with batch-norm behind it
        "hardware": HARDWARE,
        "snapshots": {"images": 1},
    }
    run = train(scenes, recipe, out=tmp_path / "run", console=QUIET)
    assert run.status.state == "finished"
    assert np.isfinite(run.steps()["loss"]).all()


@pytest.mark.parametrize(
    ("batch_size", "accumulation", "expected_accumulation"), [(32, 4, 8), (32, 12, 16), (32, 16, None)]
)
def test_advice_without_memory_is_a_recipe_that_is_accepted(
    batch_size: int, accumulation: int, expected_accumulation: int | None
) -> None:
    fields = {"batch_size": batch_size, "accumulation": accumulation}
    recipe = load_recipe("airnet-scratch", fields)
    explained = memory_explained(recipe, torch.device("cuda:0"))
    with pytest.raises(UserError, match="the device cuda:0 ran out of memory") as error, explained:
        raise torch.OutOfMemoryError
    text = str(error.value)
    assert ("accumulation=" in text) == (expected_accumulation is not None)
    if expected_accumulation is not None:
        assert f"accumulation={expected_accumulation} " in text
        load_recipe("airnet-scratch", fields | {"accumulation": expected_accumulation})
