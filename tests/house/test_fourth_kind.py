"""A kind of task that src/ does not know plugs into the table, and trains, resumes, predicts and reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from rich.console import Console
from tests.hardware import FP32
from tests.house.regression import KIND

import snellen
from snellen.engine.interrupt import StopRequest
from snellen.tasks.kinds import KINDS

QUIET = Console(quiet=True)
RECIPE: dict[str, Any] = {
    "task": "regression",
    "name": "brightness",
    "epochs": 12,
    "batch_size": 8,
    "augmentation": {"size": 16, "flip": 0.5},
    "evaluation": {"size": 16},
    "model": {"backbone": "airnet", "width": 0.125},
    "optimizer": {"name": "adamw", "lr": 0.01},
    "hardware": FP32,
}


@pytest.fixture
def brightness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Noisy grey images in a folder, each called by its mean."""
    monkeypatch.setitem(KINDS, "regression", KIND)
    generator = np.random.default_rng(0)
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(64):
        level = generator.uniform(0.1, 0.9)
        pixels = np.clip(generator.normal(level, 0.1, (16, 16, 3)), 0, 1)
        Image.fromarray((255 * pixels).astype(np.uint8)).save(folder / f"{level:.4f}_{number:04d}.png")
    return folder


def test_it_trains_predicts_and_reports(brightness: Path, tmp_path: Path) -> None:
    run = snellen.train(brightness, RECIPE, out=tmp_path / "run", console=QUIET)
    status = run.status
    assert (status.state, status.measure) == ("finished", "R²")
    assert status.score > 0.5
    assert "R²" in repr(run)
    files = sorted(brightness.iterdir())[:5]
    numbers = snellen.predict(run, files, tmp_path / "numbers.csv", console=QUIET).table()["number"].astype(float)
    truth = [float(file.name.split("_")[0]) for file in files]
    assert np.abs(numbers - truth).max() < 0.3
    text = (run.path / "report.html").read_text(encoding="utf-8")
    assert f"R² {status.score:.3f}" in text
    assert len(pd.read_csv(run.path / "predictions" / "validation.csv")) == status.images == 32


def test_it_resumes_exactly(brightness: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = snellen.train(brightness, RECIPE, out=tmp_path / "whole", console=QUIET)
    calls: list[None] = []

    def is_requested(self: StopRequest) -> bool:
        calls.append(None)
        return len(calls) > 20

    monkeypatch.setattr(StopRequest, "requested", property(is_requested, lambda self, value: None), raising=False)
    part = snellen.train(brightness, RECIPE, out=tmp_path / "part", console=QUIET)
    assert part.status.state == "interrupted"
    monkeypatch.undo()
    monkeypatch.setitem(KINDS, "regression", KIND)
    resumed_run = snellen.resume(part, console=QUIET)
    assert resumed_run.status.state == "finished"
    assert resumed_run.metrics()["validation_r2"].equals(reference.metrics()["validation_r2"])
    best = "checkpoints/best.safetensors"
    assert (resumed_run.path / best).read_bytes() == (reference.path / best).read_bytes()
