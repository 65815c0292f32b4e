"""A run that several processes train is the run of one, up to rounding, and exactly in what is counted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from safetensors.torch import load_file
from tests.hardware import FP32
from tests.recipes import SCENES, VIEWS

from snellen import pretrain, train
from snellen.commands.train import resume
from snellen.data.masks.scenes import draw_scenes
from snellen.runs import Run

QUIET = Console(quiet=True)
# At higher rates these small networks amplify the last bits of a loss within 20 steps, on one device too.
SGD = {"name": "sgd", "lr": 0.0001}
BATCH = 16  # 3 does not divide it


def _classify(images: Path, out: Path, devices: int) -> Run:
    recipe: dict[str, Any] = {
        "epochs": 4,
        "batch_size": BATCH,
        "augmentation": {
            "size": 16,
            "crop": "random",
            "resize": 16,
            "padding": 2,
            "rotation": 10,
            "jitter": [0.2, 0.2, 0.2, 0.1],
            "erasing": 0.3,
        },
        "mix": {"mixup": 0.2, "cutmix": 1.0, "probability": 0.7},
        "evaluation": {"size": 16, "flip": True, "choose": "best"},
        "model": {"backbone": "airnet", "width": 0.125},
        "loss": {"name": "soft_target", "smoothing": 0.1},
        "optimizer": SGD | {"clip_norm": 1.0},
        "ema": {"decay": 0.9},
        "hardware": FP32 | {"devices": devices},
        "snapshots": {"images": 4},
    }
    return train(images, recipe, out=out, console=QUIET)


def _segment(images: Path, out: Path, devices: int) -> Run:
    recipe = SCENES | {
        "epochs": 10,
        "batch_size": 14,
        "augmentation": {"size": [96, 96], "resize": None},
        "optimizer": SGD,
        "hardware": FP32 | {"devices": devices},
    }
    return train(images, recipe, out=out, console=QUIET)


def _pretrain(images: Path, out: Path, devices: int, method: str = "simclr") -> Run:
    recipe = VIEWS | {
        "epochs": 5,
        "batch_size": BATCH,
        "evaluation": {"size": 16, "data": str(images), "collapse": "warn"},
        "method": VIEWS["method"] | {"name": method} | ({"queue": 32} if method == "moco" else {}),
        "optimizer": SGD,
        "hardware": FP32 | {"devices": devices},
    }
    return pretrain(images, recipe, out=out, console=QUIET)


def assert_alike(run: Run, alone: Run) -> None:
    losses, expected = run.steps()["loss"], alone.steps()["loss"]
    assert len(losses) == len(expected)
    np.testing.assert_allclose(losses[:20], expected[:20], rtol=1e-5)
    ours, theirs = (load_file(r.path / "checkpoints" / "last.safetensors") for r in (run, alone))
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        np.testing.assert_allclose(ours[name].float(), tensor.float(), atol=1e-4, rtol=1e-4, err_msg=name)
    assert run.status.state == alone.status.state == "finished"
    assert run.status.chosen_epoch == alone.status.chosen_epoch
    assert run.by_epoch().shape == alone.by_epoch().shape


@pytest.mark.parametrize(
    ("kind", "devices"),
    [
        ("classification", 2),
        pytest.param("classification", 3, marks=pytest.mark.slow),
        *(
            pytest.param(kind, devices, marks=pytest.mark.slow)
            for kind in ("segmentation", "pretraining")
            for devices in (2, 3)
        ),
    ],
)
def test_alike(kind: str, devices: int, digits: Path, tmp_path: Path) -> None:
    start: Callable[[Path, Path, int], Run] = {
        "classification": _classify,
        "segmentation": _segment,
        "pretraining": _pretrain,
    }[kind]
    images = digits
    if kind == "segmentation":
        images = tmp_path / "scenes"
        draw_scenes(images, 40, size=96, validation_share=0.3)
    assert_alike(start(images, tmp_path / "together", devices), start(images, tmp_path / "alone", 1))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["byol", "simsiam", "moco", "dino", "barlow_twins", "vicreg"])
def test_every_method(method: str, digits: Path, tmp_path: Path) -> None:
    runs = [_pretrain(digits, tmp_path / str(devices), devices, method) for devices in (3, 1)]
    # Barlow Twins sums many small differences, and SimSiam's loss passes through zero.
    np.testing.assert_allclose(runs[0].steps()["loss"][:20], runs[1].steps()["loss"][:20], rtol=5e-5, atol=1e-6)


SCRIPT = """
import sys
from pathlib import Path
from tests.ranks.test_training import _classify
_classify(Path(sys.argv[1]), Path(sys.argv[2]), 3)
"""


@pytest.mark.slow
def test_a_process_that_dies_ends_the_run_which_resumes_with_two(digits: Path, tmp_path: Path) -> None:
    alone = _classify(digits, tmp_path / "alone", 1)
    out = tmp_path / "run"
    first = subprocess.Popen([sys.executable, "-c", SCRIPT, str(digits), str(out)], stderr=subprocess.PIPE, text=True)
    steps = out / "steps.csv"
    while not (steps.is_file() and steps.stat().st_size > 100):
        assert first.poll() is None
        time.sleep(0.05)
    workers = subprocess.run(["pgrep", "-P", str(first.pid)], capture_output=True, text=True, check=True).stdout.split()
    os.kill(int(workers[-1]), signal.SIGKILL)
    _, said = first.communicate(timeout=60)
    assert "has ended" in said
    assert f"snellen train --resume {out}" in said
    assert Run(out).status.state == "failed"
    assert_alike(resume(out, devices=2, console=QUIET), alone)
