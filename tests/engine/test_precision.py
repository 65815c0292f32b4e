"""The fastest mode is chosen from measurements, and measuring changes nothing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from snellen.engine.device import HardwareSpec, find_device
from snellen.engine.precision import Measured, Mode, candidates, choose, fastest, measure
from snellen.errors import UserError

CPU = torch.device("cpu")
PLAIN, LAST, HALF = Mode("fp32", False, False), Mode("fp32", True, False), Mode("bf16", True, False)


def test_candidates_keep_to_what_the_recipe_fixes() -> None:
    assert candidates(HardwareSpec(), CPU) == [PLAIN, LAST, Mode("bf16", False, False), HALF]
    assert candidates(HardwareSpec(precision="bf16", channels_last=True), CPU) == [HALF]
    assert all(mode.compiled for mode in candidates(HardwareSpec(compile=True), CPU))


@pytest.mark.parametrize(
    ("seconds", "chosen"), [((1.0, 0.9, 0.5), HALF), ((1.0, 0.9, 2.0), LAST), ((1.0, 0.97, 0.96), PLAIN)]
)
def test_the_plain_mode_stays_unless_another_saves_five_percent(seconds: tuple[float, ...], chosen: Mode) -> None:
    found = [Measured(mode, 8, value) for mode, value in zip((PLAIN, LAST, HALF), seconds, strict=True)]
    assert fastest(found) == chosen


def test_measuring_leaves_the_network_alone() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LazyLinear(2))
    images = torch.randn(6, 3, 8, 8)
    model(images)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = measure([PLAIN, LAST], model, images, lambda network, batch: network(batch).square().mean())
    assert [entry.mode for entry in found] == [PLAIN, LAST]
    assert all(entry.seconds > 0 and 2 <= entry.images <= 6 for entry in found)
    assert all(tensor.equal(before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_devices_that_are_not_there() -> None:
    assert find_device(HardwareSpec(device="cpu")) == CPU
    missing = f"cuda:{torch.cuda.device_count() + 3}"
    with pytest.raises(UserError, match=r"Try hardware\.device=auto"):
        find_device(HardwareSpec(device=missing))


def test_an_unfolded_twin_is_tried_on_cpus_and_only_there_by_itself() -> None:
    torch.manual_seed(0)
    model, images = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.LazyLinear(2)), torch.randn(4, 3, 6, 6)
    model(images)
    mode, found = choose(HardwareSpec(), model, images, lambda network, batch: network(batch).square().mean())
    assert [entry.mode.unfolded for entry in found] == [False] * 4 + [True]
    assert mode in [entry.mode for entry in found]
    fixed = HardwareSpec(precision="fp32", channels_last=False, unfold=False)
    assert choose(fixed, model, images, lambda network, batch: network(batch).mean()) == (PLAIN, [])
