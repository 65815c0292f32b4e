"""How often a saliency map's maximum lies in the patch that decides the class.

Each image gets a square at a random place, whose colour alone is its class. A shipped recipe is trained on these
images, then the map of each validation image is computed for its class. Next to it: the same for the network with
random weights, and the share that random points would hit. Without a folder, the backgrounds are scikit-learn's digits.

    python benchmarks/saliency.py photos/
    python benchmarks/saliency.py photos/ --recipe finetune-lite --size 224 --side 56 --epochs 2 \\
        --fields model.weights=lite0.safetensors
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from torch import Tensor

from snellen import Run, train
from snellen.data.augment.pipeline import Augmentation
from snellen.data.decode import decode
from snellen.data.normalization import Normalization
from snellen.insight.proportions import percents, wilson
from snellen.insight.saliency import rank_correlations
from snellen.models.classifier import Classifier
from snellen.tasks.classification.recipe import Recipe
from snellen.tasks.classification.saliency import layer_of, randomised, saliency_maps

COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 190, 60),
    "blue": (50, 70, 220),
    "yellow": (230, 210, 40),
    "pink": (230, 60, 200),
}
_AT_ONCE = 50

Places = Mapping[str, tuple[int, int]]
"""(top, left) of the patch of each validation image, by its path below the folder."""


@dataclass(frozen=True)
class Hits:
    """Of `images` maps: those with their maximum in the patch; the same with random weights; the mean correlation."""

    images: int
    hits: int
    random_hits: int
    correlation: float


def plant(
    folder: Path, backgrounds: Sequence[Image.Image], training: int, validation: int, *, size: int, side: int, seed: int
) -> Places:
    """Writes train/COLOUR/N.png and val/COLOUR/N.png of size x size px, each with a patch of side x side px."""
    generator = np.random.default_rng(seed)
    places: dict[str, tuple[int, int]] = {}
    names = itertools.cycle(COLOURS)
    for part, count in (("train", training), ("val", validation)):
        for number, name in zip(range(count), names, strict=False):
            background = backgrounds[int(generator.integers(len(backgrounds)))]
            image = background.convert("RGB").resize((size, size))
            top, left = (int(value) for value in generator.integers(0, size - side + 1, 2))
            image.paste(speckles(COLOURS[name], side, generator), (left, top))
            path = folder / part / name / f"{number:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)
            if part == "val":
                places[str(path.relative_to(folder))] = (top, left)
    return places


def speckles(colour: tuple[int, int, int], side: int, generator: np.random.Generator) -> Image.Image:
    """A square in one colour of varying brightness: of a plain one, a network may read nothing but the border."""
    brightness = generator.uniform(0.2, 1, (side, side, 1))
    return Image.fromarray((np.array(colour) * brightness).astype(np.uint8))


def hit_share(run: Run, places: Places, side: int) -> Hits:
    """The maps of a run's validation images, which are as large as the network's input, for their own classes."""
    recipe = cast("Recipe", run.recipe)
    classifier = cast("Classifier", run.model())
    normalization = Normalization.recorded(run.data["normalization"])
    augmentation = Augmentation(recipe.augmentation, normalization, torch.device("cpu"))
    others = randomised(classifier, seed=0)
    layer = layer_of(classifier, recipe.evaluation.size)
    samples = run.part("validation")
    hits = random_hits = 0
    correlations: list[float] = []
    for start in range(0, len(samples), _AT_ONCE):
        part = samples.iloc[start : start + _AT_ONCE]
        images = augmentation.evaluate(torch.stack([decode(run.image(path)) for path in part["path"]]))
        classes = torch.tensor(part["target"].tolist())
        maps, random_maps = (saliency_maps(network, images, classes, layer) for network in (classifier, others))
        corners = [places[path] for path in part["path"]]
        hits += count_hits(maps, corners, side)
        random_hits += count_hits(random_maps, corners, side)
        correlations += [value for value in rank_correlations(maps.numpy(), random_maps.numpy()) if value is not None]
    return Hits(len(samples), hits, random_hits, float(np.mean(correlations)) if correlations else float("nan"))


def count_hits(maps: Tensor, corners: Sequence[tuple[int, int]], side: int) -> int:
    """Maps with their maximum in the patch of side x side px at (top, left); never one that is 0. maps: (B, S, S)."""
    places = [divmod(int(image.argmax()), maps.shape[-1]) for image in maps]
    return sum(
        bool(image.max()) and top <= y < top + side and left <= x < left + side
        for image, (y, x), (top, left) in zip(maps, places, corners, strict=True)
    )


def backgrounds_of(folder: Path | None) -> list[Image.Image]:
    """The images below a folder, or scikit-learn's digits."""
    if folder is None:
        return [Image.fromarray((digit * (255 / 16)).astype(np.uint8)) for digit in load_digits().images]
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg", ".png"})
    return [_opened(path) for path in paths[:: max(1, len(paths) // 2000)]]


def _opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.draft("RGB", (256, 256))
        image.thumbnail((256, 256))
        return image.convert("RGB")


def main() -> None:
    """Trains and prints one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("backgrounds", type=Path, nargs="?", help="folder of images; default scikit-learn's digits")
    parser.add_argument("--recipe", default="airnet-scratch")
    parser.add_argument("--size", type=int, default=32, help="of the images, in px")
    parser.add_argument("--side", type=int, default=8, help="of the patch, in px")
    parser.add_argument("--training", type=int, default=2000, help="number of training images")
    parser.add_argument("--images", type=int, default=500, help="number of validation images")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fields", nargs="*", default=[], help="key=value of the recipe")
    options = parser.parse_args()
    sizes = {"augmentation.size": options.size, "augmentation.resize": None, "augmentation.crop": "random"}
    sizes |= {"evaluation.size": options.size, "evaluation.resize": None}
    fields: dict[str, Any] = sizes | {"epochs": options.epochs, "seed": options.seed}
    fields |= dict(field.split("=", 1) for field in options.fields)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        images = backgrounds_of(options.backgrounds)
        places = plant(
            folder / "data",
            images,
            options.training,
            options.images,
            size=options.size,
            side=options.side,
            seed=options.seed,
        )
        run = train(folder / "data", options.recipe, out=folder / "run", overrides=fields)
        found = hit_share(run, places, options.side)
        layer, top1 = layer_of(cast("Classifier", run.model()), options.size), run.status.score or 0
    table = Table(box=None, pad_edge=False)
    for column in (
        "recipe",
        "layer",
        "positions",
        "top-1",
        "in the patch",
        "95% interval",
        "random weights",
        "by chance",
    ):
        table.add_column(column)
    chance = (options.side / options.size) ** 2
    table.add_row(
        options.recipe,
        layer.name,
        f"{layer.side} x {layer.side}",
        f"{top1:.1%}",
        f"{found.hits} of {found.images}",
        percents(wilson(found.hits, found.images)),
        f"{found.random_hits} of {found.images}",
        f"{chance:.1%}",
    )
    console = Console(width=120)
    console.print(table)
    console.print(f"mean rank correlation with random weights {found.correlation:.2f}; torch {torch.__version__}")


if __name__ == "__main__":
    main()
