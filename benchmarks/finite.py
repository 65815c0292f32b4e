"""Runs whose loss is not finite, by network and mode: small networks on digits, many seeds.

python benchmarks/finite.py --seeds 24
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from sklearn.datasets import load_digits

from snellen.data.sources import read_images
from snellen.engine.loop import one_step
from snellen.engine.precision import NAMED_MODES
from snellen.recipe.load import load_for
from snellen.recipe.schema import Recipe
from snellen.tasks.preparation import prepare

# by the names of shipped networks: recipe and what makes it small
NETWORKS = {
    "airnet": ("airnet-scratch", {"model.width": 0.125}),
    "vgg13": ("vgg13-scratch", {}),
    "resnet18": ("finetune-lite", {"model.backbone": "resnet18", "model.weights": None}),
    "resnet50": ("finetune-lite", {"model.backbone": "resnet50", "model.weights": None}),
    "efficientnet_lite0": ("finetune-lite", {"model.weights": None}),
    "convnext_tiny": ("finetune-large", {"model.weights": None}),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--seeds", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=2, help="of 7 steps of 16 images")
    options = parser.parse_args(arguments)
    print(f"torch {torch.__version__}; runs of {options.seeds} with a loss or weight that is not finite")
    print(f"{'network':<20}" + "".join(f"{name:>20}" for name in NAMED_MODES))
    with tempfile.TemporaryDirectory() as folder:
        _digits(Path(folder))
        for network in options.networks:
            print(f"{network:<20}", end="", flush=True)
            for mode in NAMED_MODES:
                count = sum(
                    not _is_finite(network, mode, seed, options.epochs, folder) for seed in range(options.seeds)
                )
                print(f"{count:>20}", end="", flush=True)
            print()


def _digits(folder: Path) -> None:
    """Class folders 0, 1, 2 with 40 digits each."""
    data = load_digits()
    for label in range(3):
        (folder / str(label)).mkdir()
        for row in np.flatnonzero(data.target == label)[:40]:
            image = Image.fromarray((data.images[row] * (255 / 16)).astype(np.uint8))
            image.resize((16, 16)).save(folder / str(label) / f"{row}.png")


def _is_finite(network: str, mode: str, seed: int, epochs: int, folder: str) -> bool:
    """Whether every loss and, in the end, every weight of a run is finite."""
    name, small = NETWORKS[network]
    fields = {"epochs": epochs, "batch_size": 16, "seed": seed, "augmentation.size": 32, "evaluation.size": 32}
    recipe = load_for(Recipe, name, fields | {"accumulation": 1, "hardware.device": "cpu"} | small)
    recipe = recipe.model_copy(update={"hardware": NAMED_MODES[mode].fixed(recipe.hardware)})
    images = read_images(folder, recipe.data)
    job = prepare(Path(folder), recipe, images, Console(quiet=True), recorded=None).job
    trained, optimizer = job.setup()
    step = 0
    for epoch in range(1, epochs + 1):
        for batch in job.feed.train(epoch):
            job.model.train()
            loss = one_step(job, trained, optimizer, batch, step)[0]
            step += 1
            if not loss.isfinite():
                return False
    return all(bool(weight.isfinite().all()) for weight in job.model.parameters())


if __name__ == "__main__":
    main()
