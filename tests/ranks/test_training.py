"""A run that several processes train is the run of one, up to rounding, and exactly in what is counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from tests.hardware import FP32
from tests.recipes import SCENES, VIEWS

from snellen import pretrain, train
from snellen.data.masks.scenes import draw_scenes
from snellen.runs import Run

QUIET = Console(quiet=True)
# At higher rates these small networks amplify the last bits of a loss within 20 steps, on one device too.
SGD = {"name": "sgd", "lr": 0.0001}
BATCH = 16  # 3 does not divide it


def _classify(images: Path, out: Path, devices: int, sharded: bool = False) -> Run:
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
        "hardware": FP32 | {"devices": devices, "sharded": sharded},
        "snapshots": {"images": 4},
    }
    return train(images, recipe, out=out, console=QUIET)


def _segment(images: Path, out: Path, devices: int, sharded: bool = False) -> Run:
    recipe = SCENES | {
        "epochs": 10,
        "batch_size": 14,
        "augmentation": {"size": [96, 96], "resize": None},
        "optimizer": SGD,
        "hardware": FP32 | {"devices": devices, "sharded": sharded},
    }
    return train(images, recipe, out=out, console=QUIET)


def _pretrain(images: Path, out: Path, devices: int, sharded: bool = False, method: str = "simclr") -> Run:
    recipe = VIEWS | {
        "epochs": 5,
        "batch_size": BATCH,
        "evaluation": {"size": 16, "data": str(images), "collapse": "warn"},
        "method": VIEWS["method"] | {"name": method} | ({"queue": 32} if method == "moco" else {}),
        "optimizer": SGD,
        "hardware": FP32 | {"devices": devices, "sharded": sharded},
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
    ("kind", "devices", "sharded"),
    [
        ("classification", 2, False),
        pytest.param("classification", 3, False, marks=pytest.mark.slow),
        pytest.param("classification", 2, True, marks=pytest.mark.slow),
        *(
            pytest.param(kind, devices, sharded, marks=pytest.mark.slow)
            for kind in ("segmentation", "pretraining")
            for devices, sharded in ((2, False), (3, False), (2, True))
        ),
    ],
)
def test_alike(kind: str, devices: int, sharded: bool, digits: Path, tmp_path: Path) -> None:
    start: Callable[[Path, Path, int, bool], Run] = {
        "classification": _classify,
        "segmentation": _segment,
        "pretraining": _pretrain,
    }[kind]
    images = digits
    if kind == "segmentation":
        images = tmp_path / "scenes"
        draw_scenes(images, 40, size=96, validation_share=0.3)
    assert_alike(start(images, tmp_path / "together", devices, sharded), start(images, tmp_path / "alone", 1, False))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["byol", "simsiam", "moco", "dino", "barlow_twins", "vicreg"])
def test_every_method(method: str, digits: Path, tmp_path: Path) -> None:
    runs = [_pretrain(digits, tmp_path / str(devices), devices, method=method) for devices in (3, 1)]
    # Barlow Twins sums many small differences, and SimSiam's loss passes through zero.
    np.testing.assert_allclose(runs[0].steps()["loss"][:20], runs[1].steps()["loss"][:20], rtol=5e-5, atol=1e-6)


def _write_table(folder: Path) -> Path:
    """A table of 96 training images, 1,001 validation and 53 test images, in groups of five."""
    data = load_digits()
    parts = ["train"] * 96 + ["val"] * 1001 + ["test"] * 53
    rows = ["path,class,split,group"]
    folder.mkdir()
    for number, part in enumerate(parts):
        name = f"{number}.png"
        Image.fromarray((data.images[number] * (255 / 16)).astype(np.uint8)).resize((16, 16)).save(folder / name)
        rows.append(f"{name},{data.target[number]},{part},{part}{number // 5}")
    table = folder / "table.csv"
    table.write_text("\n".join(rows))
    return table


@pytest.mark.slow
def test_scores_of_1001_images_are_equal_in_every_count(tmp_path: Path) -> None:
    table = _write_table(tmp_path / "images")
    recipe = {
        "epochs": 1,
        "batch_size": BATCH,
        "augmentation": {"size": 16, "crop": "random"},
        "evaluation": {"size": 16},
        "model": {"backbone": "airnet", "width": 0.125},
        "optimizer": SGD | {"lr": 1e-7},
        "data": {"group": "group"},
    }
    runs = [
        train(table, recipe | {"hardware": FP32 | {"devices": devices}}, out=tmp_path / str(devices), console=QUIET)
        for devices in (1, 2, 3)
    ]
    for run in runs[1:]:
        for name in ("predictions/validation.csv", "predictions/test.csv", "samples.csv"):
            ours, alone = (pd.read_csv(one.path / name) for one in (run, runs[0]))
            columns = [name for name in ours.columns if ours[name].dtype.kind != "f"]
            pd.testing.assert_frame_equal(ours[columns], alone[columns])
        assert (run.path / "predictions/correct.u8").read_bytes() == (
            runs[0].path / "predictions/correct.u8"
        ).read_bytes()
        assert (run.status.score, run.status.low) == (runs[0].status.score, runs[0].status.low)
        assert run.status.images == 53, "the test part"
