"""The commands that train by themselves, on as little as possible."""

from __future__ import annotations

import json
import math
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from tests.hardware import HARDWARE, KEYS, MODE

from snellen import UserError, demo
from snellen.commands import demo as demo_module
from snellen.commands.bench import bench_train


def test_bench_measures_all_three_loops(digits: Path) -> None:
    fast = {
        "model.width": 0.125,
        "batch_size": 16,
        **KEYS,
    }
    speed = bench_train("airnet-scratch", digits, seconds=0.05, overrides=fast, console=Console(quiet=True))
    assert all(math.isfinite(value) and value > 0 for value in (speed.training, speed.ready, speed.plain))
    assert speed.mode == str(MODE)


def test_bench_works_with_fewer_images_than_a_batch(digits: Path) -> None:
    few = KEYS | {"model.width": 0.125, "batch_size": 1000}
    assert bench_train("airnet-scratch", digits, seconds=0.05, overrides=few, console=Console(quiet=True)).plain > 0


@pytest.mark.parametrize("size", [[32, 32], pytest.param(None, marks=pytest.mark.slow)])
def test_bench_of_masks(scenes: Path, size: list[int] | None) -> None:
    fast = {"model.weights": None, "model.architecture": "unet/test_resnet", "batch_size": 4}
    fast |= {"augmentation.size": size, "augmentation.resize": None}
    overrides = KEYS | {"augmentation.flip": 0.5 if size else 0}
    speed = bench_train("segment-lite", scenes, seconds=0.05, overrides=fast | overrides, console=Console(quiet=True))
    assert all(math.isfinite(value) and value > 0 for value in (speed.training, speed.ready, speed.plain))


@pytest.mark.slow
def test_demo_leaves_three_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    brief = {"epochs": 1, "batch_size": 128, "hardware": HARDWARE, "snapshots": {"images": 20}}
    monkeypatch.setattr(demo_module, "_SCENES", 16)
    plan = demo_module._plan()
    plan["classes"]["fields"] |= KEYS | {"epochs": 1, "batch_size": 128}
    plan["masks"]["recipe"] |= brief | {"batch_size": 4}
    pretraining = {"recipe": "simclr-small", "changes": brief | {"evaluation": {"collapse": "warn"}}}
    pretraining["changes"]["model"] = {"width": 0.125}
    plan["few labels"] |= {"seeds": [0], "changes": brief | {"batch_size": 16}, "pretraining": pretraining}
    monkeypatch.setattr(demo_module, "_plan", lambda: plan)
    console = Console(record=True, file=StringIO(), width=200)
    classes, few, masks = demo(tmp_path / "demo", console=console)
    assert console.export_text().count("last epoch 1: top-1") == 2
    numbers = [json.loads(page.with_suffix(".json").read_text()) for page in (classes, few, masks)]
    assert [run["label"] for run in numbers[0]["runs"]] == ["airnet-eighth", "airnet-quarter"]
    assert [setting["setting"] for setting in numbers[1]["settings"]] == ["A", "C", "E"]
    assert [run["label"] for run in numbers[2]["runs"]] == ["deeplabv3plus", "unet"]
    assert len(list((tmp_path / "demo" / "digits").rglob("*.png"))) == 1797
    with pytest.raises(UserError, match="not an empty folder"):
        demo(tmp_path / "demo")
