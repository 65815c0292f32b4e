"""The smallest run of each kind, and how two of them are compared to the bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from safetensors.torch import load_file
from tests.hardware import FP32
from tests.recipes import DIGITS

from snellen import pretrain, train
from snellen.runs import Run

QUIET = Console(quiet=True)
CLOCKS = ["seconds", "images_per_second"]


@dataclass(frozen=True)
class Case:
    """A kind of run. images: the fixture of its data. start: trains it into a folder."""

    images: str
    start: Callable[[Path, Path], Run]


def _classify(images: Path, out: Path) -> Run:
    fields: dict[str, Any] = {"epochs": 2, "hardware": FP32, "snapshots": {"images": 3}, "ema": {"decay": 0.9}}
    return train(images, DIGITS | fields, out=out, console=QUIET)


def _segment(images: Path, out: Path) -> Run:
    recipe = {
        "task": "segmentation",
        "name": "scenes",
        "epochs": 2,
        "batch_size": 4,
        "augmentation": {"size": [32, 32], "resize": None},
        "model": {"architecture": "unet/test_resnet"},
        "hardware": FP32,
        "snapshots": {"images": 1},
    }
    return train(images, recipe, out=out, console=QUIET)


def _pretrain(images: Path, out: Path) -> Run:
    recipe = {
        "task": "pretraining",
        "name": "views",
        "epochs": 2,
        "batch_size": 32,
        "augmentation": {"size": 16},
        "evaluation": {"size": 16, "data": str(images)},
        "model": {"backbone": "airnet", "width": 0.125},
        "method": {"name": "simclr", "hidden": 16, "output": 8},
        "hardware": FP32,
    }
    return pretrain(images, recipe, out=out, console=QUIET)


CASES = {
    "classification": Case("digits", _classify),
    "segmentation": Case("scenes", _segment),
    "pretraining": Case("digits", _pretrain),
}


def assert_same_bits(run: Run, whole: Run) -> None:
    """Weights, records, predictions and metrics of two runs, all but the clocks."""
    assert run.status.state == whole.status.state == "finished"
    files = {file.relative_to(whole.path) for file in whole.path.rglob("*") if file.is_file()}
    ours = {file.relative_to(run.path) for file in run.path.rglob("*") if file.is_file()}
    events = {file for file in files | ours if "tensorboard" in file.parts}
    assert ours - events == files - events
    for name in sorted(files - events):
        one, other = run.path / name, whole.path / name
        if name.suffix == ".safetensors":
            ours_by_key, theirs = load_file(one), load_file(other)
            assert ours_by_key.keys() == theirs.keys()
            assert all(ours_by_key[key].equal(theirs[key]) for key in theirs), name
        elif name.suffix == ".npz":
            with np.load(one) as left, np.load(other) as right:
                assert left.files == right.files
                assert all(left[key].tobytes() == right[key].tobytes() for key in right.files), name
        elif name.parent.name == "predictions" or name.name in {"samples.csv", "images.tsv"}:
            assert one.read_bytes() == other.read_bytes(), name
        elif name.name in {"steps.csv", "epochs.csv"}:
            left_table, right_table = (pd.read_csv(file).drop(columns=CLOCKS, errors="ignore") for file in (one, other))
            pd.testing.assert_frame_equal(left_table, right_table, check_exact=True)
