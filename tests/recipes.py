"""Recipes of small runs that several files of tests train."""

from __future__ import annotations

from typing import Any

from tests.hardware import FP32, HARDWARE

DIGITS: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 32,
    "augmentation": {"size": 16, "crop": "random", "resize": 16},
    "evaluation": {"size": 16},
    "model": {"backbone": "airnet", "width": 0.125},
    "hardware": HARDWARE,
    "snapshots": {"images": 10},
}

SCENES: dict[str, Any] = {
    "task": "segmentation",
    "name": "scenes",
    "epochs": 2,
    "batch_size": 4,
    "augmentation": {"size": [32, 32], "resize": None},
    "model": {"architecture": "unet/test_resnet"},
    "hardware": FP32,
    "snapshots": {"images": 1},
}

VIEWS: dict[str, Any] = {
    "task": "pretraining",
    "name": "views",
    "epochs": 2,
    "batch_size": 32,
    "augmentation": {"size": 16},
    "evaluation": {"size": 16},  # data: labelled images
    "model": {"backbone": "airnet", "width": 0.125},
    "method": {"name": "simclr", "hidden": 16, "output": 8},
    "hardware": FP32,
}
