"""Recipes of small runs that several files of tests train."""

from __future__ import annotations

from typing import Any

from tests.hardware import HARDWARE

DIGITS: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 32,
    "augmentation": {"size": 16, "crop": "random", "resize": 16},
    "evaluation": {"size": 16},
    "model": {"backbone": "airnet", "width": 0.125},
    "hardware": HARDWARE,
    "snapshots": {"images": 10},
}
