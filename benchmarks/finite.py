"""Counts runs whose loss is not finite, by network and mode: small networks on digits and drawn scenes, many seeds.

Each network is trained with the learning rates of a shipped recipe, in each precision and layout available on a CPU.

    python benchmarks/finite.py --seeds 24
    python benchmarks/finite.py --networks airnet vicreg simclr --seeds 6
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from sklearn.datasets import load_digits

from snellen.data.masks.scenes import draw_scenes
from snellen.data.masks.sources import read_masked
from snellen.data.sources import read_images
from snellen.data.unlabelled import read_unlabelled
from snellen.engine.loop import Job, one_step
from snellen.engine.mode import NAMED_MODES, Mode
from snellen.engine.recipe import CommonRecipe
from snellen.tasks.classification.prepare import prepare
from snellen.tasks.kinds import load_recipe
from snellen.tasks.pretraining.prepare import prepare as prepare_pretraining
from snellen.tasks.pretraining.recipe import PretrainingRecipe
from snellen.tasks.segmentation.prepare import prepare as prepare_segmentation
from snellen.tasks.segmentation.recipe import SegmentationRecipe

_QUIET = Console(quiet=True)
_IMAGES = {"batch_size": 16, "augmentation.size": 32, "evaluation.size": 32}
_SCENES = {
    "batch_size": 4,
    "augmentation.size": 32,
    "model.weights": None,
    "snapshots.names": [],
    "normalization.source": "data",
}
_VIEWS = {"batch_size": 32, "augmentation.size": 16, "evaluation.size": 16, "model.width": 0.125}
_METHOD = {"hidden": 32, "output": 32}

# recipe, and the fields that make it small
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "airnet": ("airnet-scratch", _IMAGES | {"model.width": 0.125}),
    "vgg13": ("vgg13-scratch", _IMAGES),
    "resnet18": ("finetune-lite", _IMAGES | {"model.backbone": "resnet18", "model.weights": None}),
    "resnet50": ("finetune-lite", _IMAGES | {"model.backbone": "resnet50", "model.weights": None}),
    "efficientnet_lite0": ("finetune-lite", _IMAGES | {"model.weights": None}),
    "convnext_tiny": ("finetune-large", _IMAGES | {"model.weights": None}),
    "fcn32s": ("fcn32s-vgg16", _SCENES | {"model.width": 64}),
    "deeplabv3": ("deeplabv3-resnet50-poly1", _SCENES),
    "deeplabv3plus": ("segment-lite", _SCENES | {"augmentation.resize": None, "evaluation.resize": None}),
    "byol": ("byol-small", _VIEWS | {"method": {"name": "byol"} | _METHOD}),
    "simclr": ("simclr-small", _VIEWS | {"method": {"name": "simclr"} | _METHOD}),
    "vicreg": ("byol-small", _VIEWS | {"method": {"name": "vicreg"} | _METHOD, "optimizer.clip_norm": 1.0}),
}


@dataclass(frozen=True)
class Data:
    """Folders: digits in class folders, scenes with masks, and an empty run folder."""

    digits: Path
    scenes: Path
    run: Path


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--modes", nargs="+", choices=NAMED_MODES, default=list(NAMED_MODES))
    parser.add_argument("--seeds", type=int, default=24, help="runs per network and mode")
    parser.add_argument("--epochs", type=int, default=2, help="epochs of three to eight steps")
    options = parser.parse_args(arguments)
    print(f"torch {torch.__version__}; runs of {options.seeds} with a loss or a weight that is not finite")
    print(f"{'network':<20}" + "".join(f"{name:>20}" for name in options.modes))
    with tempfile.TemporaryDirectory() as folder:
        data = _write_images(Path(folder))
        for network in options.networks:
            print(f"{network:<20}", end="", flush=True)
            for name in options.modes:
                runs = (
                    _is_finite(network, NAMED_MODES[name], seed, options.epochs, data) for seed in range(options.seeds)
                )
                print(f"{sum(not finite for finite in runs):>20}", end="", flush=True)
            print()


def _write_images(folder: Path) -> Data:
    """Writes 40 digits of each of three classes, and 16 scenes of 48 px."""
    data = Data(folder / "digits", folder / "scenes", folder / "run")
    digits = load_digits()
    for label in range(3):
        (data.digits / str(label)).mkdir(parents=True)
        for row in np.flatnonzero(digits.target == label)[:40]:
            image = Image.fromarray((digits.images[row] * (255 / 16)).astype(np.uint8))
            image.resize((16, 16)).save(data.digits / str(label) / f"{row}.png")
    draw_scenes(data.scenes, 16, size=48)
    data.run.mkdir()
    return data


def _is_finite(network: str, mode: Mode, seed: int, epochs: int, data: Data) -> bool:
    """Whether every loss and, at the end, every weight of a run is finite."""
    name, small = NETWORKS[network]
    fields = {"epochs": epochs, "seed": seed, "accumulation": 1, "hardware.device": "cpu", "hardware.threads": 1}
    if name in {"byol-small", "simclr-small"}:
        del fields["accumulation"]
    recipe = load_recipe(name, fields | small)
    recipe = recipe.model_copy(update={"hardware": mode.fixed(recipe.hardware)})
    job = _job(recipe, data)
    model, optimizer = job.setup()
    job.model.train()
    step = 0
    for epoch in range(1, epochs + 1):
        for batch in job.feed.train(epoch):
            loss = one_step(job, model, optimizer, batch, step)[0]
            step += 1
            if not loss.isfinite():
                return False
    return all(bool(weight.isfinite().all()) for weight in job.model.parameters())


def _job(recipe: CommonRecipe, data: Data) -> Job:
    if isinstance(recipe, PretrainingRecipe):
        return prepare_pretraining(data.run, recipe, read_unlabelled(data.digits), _QUIET, recorded=None).job
    if isinstance(recipe, SegmentationRecipe):
        return prepare_segmentation(data.run, recipe, read_masked(data.scenes, recipe.data), _QUIET, recorded=None).job
    return prepare(data.run, recipe, read_images(data.digits, recipe.data), _QUIET, recorded=None).job


if __name__ == "__main__":
    main()
