"""airnet on images whose colours say nothing, in every arithmetic."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from sklearn.datasets import load_digits
from torch import Tensor

from snellen.data.sources import read_images
from snellen.engine.loop import one_step
from snellen.models.airnet import AirNet, patch_covariance
from snellen.recipe.load import load_as
from snellen.tasks.classification.prepare import prepare
from snellen.tasks.classification.recipe import Recipe

MEMORY = """
import resource, sys
import torch
from snellen.models.airnet import AirNet
batches = (torch.rand(64, 3, 128, 128) for _ in range(16))
network = AirNet()
network.whiten([torch.rand(64, 3, 128, 128)])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
network.whiten(batches)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
MODES = {
    "fp32": ("fp32", False, False),
    "bf16": ("bf16", False, False),
    "bf16-last": ("bf16", True, False),
    "bf16-last-unfolded": ("bf16", True, True),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", [1, 2])
def test_grey_images_leave_loss_and_weights_small(mode: str, seed: int, digits: Path, tmp_path: Path) -> None:
    """Channels of rounding errors, multiplied by 1e6 in each batch-norm, once made weights of 1e30 in one step."""
    precision, channels_last, unfold = MODES[mode]
    hardware = {"device": "cpu", "precision": precision, "channels_last": channels_last, "unfold": unfold, "threads": 1}
    fields = {"epochs": 2, "batch_size": 16, "model.width": 0.125, "seed": seed}
    fields |= {f"hardware.{key}": value for key, value in hardware.items()}
    recipe = load_as(Recipe, "airnet-scratch", fields)
    job = prepare(tmp_path, recipe, read_images(digits, recipe.data), Console(quiet=True), recorded=None).job
    model, optimizer = job.setup()
    job.model.train()
    losses = [
        one_step(job, model, optimizer, batch, step)[0].item() for step, batch in enumerate(job.feed.train(epoch=1))
    ]
    assert torch.tensor(losses).isfinite().all()
    assert max(parameter.abs().max().item() for parameter in job.model.parameters()) < 100


def _first_weights(images: Tensor) -> tuple[AirNet, Tensor]:
    network = AirNet()
    before = network.blocks[0].conv1.weight.clone()
    network.whiten(images.split(7))
    return network, before


def test_only_directions_with_variance_are_whitened(photograph: Tensor) -> None:
    crops = photograph.float().unfold(1, 32, 32).unfold(2, 32, 32).permute(1, 2, 0, 3, 4).reshape(-1, 3, 32, 32)
    crops = (crops - crops.mean((0, 2, 3), keepdim=True)) / crops.std((0, 2, 3), keepdim=True)
    colour, before = _first_weights(crops)
    assert colour.blocks[0].conv1.weight.equal(before), "colours vary: every identity stays"
    grey, before = _first_weights(crops.mean(1, keepdim=True).expand(-1, 3, -1, -1))
    norms = grey.whitening.weight.flatten(1).norm(dim=1)
    assert ((norms == 0).sum(), (norms > 0).sum()) == (16, 8), "2 x 2 patches of one value: 4 directions, both signs"
    after = grey.blocks[0].conv1.weight
    is_changed = (after != before).flatten(1).any(1)
    assert is_changed.nonzero()[:, 0].tolist() == (norms == 0).nonzero()[:, 0].tolist()
    outputs = grey.whitening(crops.mean(1, keepdim=True).expand(-1, 3, -1, -1))
    assert outputs[:, norms > 0].var((0, 2, 3)).sub(1).abs().max() < 0.2


IMAGENET = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


@pytest.mark.parametrize("scale", [1e-2, 1.0, 1e2])
def test_which_directions_have_variance_does_not_depend_on_the_scale(scale: float) -> None:
    """Grey digits, normalised by ImageNet's figures: the three channels differ by an offset and a factor."""
    digits = torch.tensor(load_digits().images[:500] / 16, dtype=torch.float32)[:, None]
    mean, deviation = IMAGENET
    network, before = _first_weights(((digits - mean) / deviation * scale).bfloat16().float())
    empty = network.whitening.weight.flatten(1).norm(dim=1) == 0
    assert empty.sum() == 2 * 7, "4 pixels and the channels' offset leave 5 of 12 directions"
    changed_rows = (network.blocks[0].conv1.weight != before).flatten(1).any(1).nonzero()[:, 0]
    assert changed_rows.tolist() == empty.nonzero()[:, 0].tolist()


@pytest.mark.parametrize("name", ["photograph", "flower"])
def test_filters_of_colour_images_are_those_of_the_formula(name: str, request: pytest.FixtureRequest) -> None:
    """Jordan 2024, section 3.2: eigenvectors over the root of the eigenvalue and 5e-4, then their negatives."""
    pixels: Tensor = request.getfixturevalue(name)[:, :416, :640].float() / 255
    mean, deviation = IMAGENET
    crops = (pixels.reshape(3, 13, 32, 20, 32).permute(1, 3, 0, 2, 4).reshape(-1, 3, 32, 32) - mean) / deviation
    network, before = _first_weights(crops)
    patches = crops.double().numpy()
    windows = np.lib.stride_tricks.sliding_window_view(patches, (2, 2), axis=(2, 3)).transpose(0, 2, 3, 1, 4, 5)
    rows = windows.reshape(-1, 12)
    values, vectors = np.linalg.eigh(rows.T @ rows / len(rows))
    filters = vectors.T / np.sqrt(values + 5e-4)[:, None]
    actual = network.whitening.weight.flatten(1).double().numpy()
    assert np.abs(actual[:12] + actual[12:]).max() == 0
    signs = np.sign((actual[:12] * filters).sum(1))
    np.testing.assert_allclose(actual[:12] * signs[:, None], filters, atol=2e-4 * np.abs(filters).max())
    assert network.blocks[0].conv1.weight.equal(before)


@pytest.mark.parametrize(("side", "step"), [(32, 1), (63, 1), (64, 3), (150, 5)])
def test_covariance_by_batches_is_that_of_all_patches_at_once(side: int, step: int) -> None:
    images = torch.randn(11, 3, side, side + 5, generator=torch.Generator().manual_seed(side)) + 0.3
    values = images.double().numpy()
    corners = [values[:, c, y : side - 1 + y, x : side + 4 + x] for c in range(3) for y in (0, 1) for x in (0, 1)]
    patches = np.stack([corner[:, ::step, ::step].ravel() for corner in corners])  # (12, positions)
    expected = patches @ patches.T / patches.shape[1]
    np.testing.assert_allclose(patch_covariance(images.split(4)), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(patch_covariance([images]), expected, rtol=1e-9, atol=1e-12)


def test_whitening_holds_few_images_at_once() -> None:
    """1,024 images of 128 px: 200 MB as they are, 3 GB as patches in float64."""
    output = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True).stdout
    kibibytes = int(output)
    assert kibibytes < 60_000
