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
from tests.recipes import DIGITS, SCENES, VIEWS

from snellen import pretrain, train
from snellen.runs import Run

QUIET = Console(quiet=True)
CLOCKS = ["seconds", "images_per_second"]


@dataclass(frozen=True)
class Case:
    """A kind of run. images: the fixture of its data. recipe: for those images."""

    images: str
    recipe: Callable[[Path], dict[str, Any]]

    def command(self, images: Path) -> str:
        """train or pretrain."""
        return "pretrain" if self.recipe(images).get("task") == "pretraining" else "train"

    def start(self, images: Path, out: Path) -> Run:
        """Trains it into a folder."""
        start = pretrain if self.command(images) == "pretrain" else train
        return start(images, self.recipe(images), out=out, console=QUIET)


CLASSES: dict[str, Any] = DIGITS | {"hardware": FP32, "snapshots": {"images": 3}, "ema": {"decay": 0.9}}
CASES = {
    "classification": Case("digits", lambda images: CLASSES),
    "segmentation": Case("scenes", lambda images: SCENES),
    "pretraining": Case("digits", lambda images: VIEWS | {"evaluation": {"size": 16, "data": str(images)}}),
}

STUDY: dict[str, Any] = {
    "name": "rates",
    "seeds": [0],
    "fewest_steps": 0,
    "recipe": CLASSES,
    "settings": [{"name": "fast"}, {"name": "slow", "changes": {"optimizer.lr": 0.0001}}],
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
