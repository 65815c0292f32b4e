"""BYOL and SimCLR on the CPU or a GPU: snellen compared with the loops of lightly's examples.

speed    images per second of snellen's BYOL, of the same steps on prepared views, and of lightly's loop (its
         transforms on PIL images in worker processes, fp32), with the same network; medians of interleaved rounds.
quality  k-NN top-1 of lightly's loop over a given number of minutes, computed by snellen's evaluation; to compare
         with `snellen pretrain DATA budget=… evaluation.data=DATA`.

    python benchmarks/pretraining.py speed cifar10/train --backbone resnet18 --size 64 --batch 128
    python benchmarks/pretraining.py quality cifar10 --method byol --minutes 60 --size 32 --batch 256
"""

from __future__ import annotations

import argparse
import copy
import itertools
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from lightly.data import LightlyDataset
from lightly.loss import NegativeCosineSimilarity, NTXentLoss
from lightly.models.modules.heads import BYOLPredictionHead, BYOLProjectionHead, SimCLRProjectionHead
from lightly.models.utils import deactivate_requires_grad, update_momentum
from lightly.transforms.byol_transform import BYOLTransform, BYOLView1Transform, BYOLView2Transform
from lightly.transforms.simclr_transform import SimCLRTransform
from lightly.utils.scheduler import cosine_schedule
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.models import get_model

from snellen.data.augment.pipeline import Augmentation, evaluation_view
from snellen.data.augment.spec import AugmentationSpec, EvaluationTransformSpec, MixSpec
from snellen.data.cache import load_pixels
from snellen.data.decode import decode
from snellen.data.feed import Feed
from snellen.data.listing import DataSpec
from snellen.data.normalization import Normalization
from snellen.data.sources import read_images
from snellen.data.store import CacheBudget
from snellen.data.unlabelled import read_unlabelled
from snellen.engine.device import synchronise
from snellen.engine.environment import processor
from snellen.engine.loop import one_step
from snellen.insight.knn import knn_probabilities
from snellen.recipe.load import load_as
from snellen.tasks.pretraining.evaluation import extract
from snellen.tasks.pretraining.prepare import prepare as prepare_pretraining
from snellen.tasks.pretraining.recipe import PretrainingRecipe

CONSOLE = Console()
HIDDEN, OUTPUT = 1024, 256
_WARM_UP = 2
_IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "ImageNet's, as lightly has it")


class LightlyByol(nn.Module):
    """The networks of lightly's BYOL example and their loss."""

    def __init__(self, name: str, epochs: int) -> None:
        super().__init__()
        self.backbone, width = _headless(name)
        self.projection_head = BYOLProjectionHead(width, HIDDEN, OUTPUT)
        self.prediction_head = BYOLPredictionHead(OUTPUT, HIDDEN, OUTPUT)
        self.backbone_momentum = copy.deepcopy(self.backbone)
        self.projection_head_momentum = copy.deepcopy(self.projection_head)
        deactivate_requires_grad(self.backbone_momentum)
        deactivate_requires_grad(self.projection_head_momentum)
        self.criterion = NegativeCosineSimilarity()
        self.epochs = epochs

    def loss(self, first: Tensor, second: Tensor, epoch: int) -> Tensor:
        momentum = cosine_schedule(min(epoch, self.epochs), self.epochs, 0.996, 1)
        update_momentum(self.backbone, self.backbone_momentum, m=momentum)
        update_momentum(self.projection_head, self.projection_head_momentum, m=momentum)
        predictions = [self.prediction_head(self.projection_head(self.backbone(view))) for view in (first, second)]
        with torch.no_grad():
            targets = [self.projection_head_momentum(self.backbone_momentum(view)) for view in (first, second)]
        return 0.5 * (self.criterion(predictions[0], targets[1]) + self.criterion(predictions[1], targets[0]))

    @staticmethod
    def transform(size: int) -> Any:
        return BYOLTransform(
            BYOLView1Transform(input_size=size, gaussian_blur=0.0),
            BYOLView2Transform(input_size=size, gaussian_blur=0.0),
        )


class LightlySimCLR(nn.Module):
    """The network of lightly's SimCLR example and its loss."""

    def __init__(self, name: str, epochs: int) -> None:
        super().__init__()
        self.backbone, width = _headless(name)
        self.projection_head = SimCLRProjectionHead(width, width, 128)
        self.criterion = NTXentLoss()

    def loss(self, first: Tensor, second: Tensor, epoch: int) -> Tensor:
        first, second = (self.projection_head(self.backbone(view)) for view in (first, second))
        loss: Tensor = self.criterion(first, second)
        return loss

    @staticmethod
    def transform(size: int) -> Any:
        return SimCLRTransform(input_size=size, gaussian_blur=0.0)


LIGHTLY: dict[str, type[LightlyByol | LightlySimCLR]] = {"byol": LightlyByol, "simclr": LightlySimCLR}


def _headless(name: str) -> tuple[nn.Module, int]:
    network = get_model(name)
    width = network.fc.in_features
    network.fc = nn.Identity()
    return network, width


def lightly_loader(folder: Path, transform: Any, batch: int) -> DataLoader[Any]:
    """lightly's dataset with the transforms of its example for small images: without blur."""
    dataset = LightlyDataset(str(folder), transform=transform)
    workers, batch = (
        os.cpu_count() or 1,
        min(batch, len(dataset)),
    )  # with less than a full batch there would be no batch at all
    return DataLoader(dataset, batch, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=True)


def lightly_steps(model: LightlyByol | LightlySimCLR, loader: DataLoader[Any], device: torch.device) -> Iterator[int]:
    """lightly's training loop: yields the number of images after each step."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.06)
    for epoch in itertools.count():
        for batch in loader:
            first, second = (view.to(device) for view in batch[0])
            loss = model.loss(first, second, epoch)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            yield len(first)


def speed(options: argparse.Namespace) -> None:
    """Prints the table of images per second."""
    recipe = load_as(
        PretrainingRecipe,
        "byol-small",
        {
            "augmentation.size": options.size,
            "evaluation.size": options.size,
            "batch_size": options.batch,
            "model.backbone": f"torchvision/{options.backbone}",
            "method": {"name": "byol", "hidden": HIDDEN, "output": OUTPUT},
            "optimizer": {"name": "sgd", "lr": 0.06, "momentum": 0, "weight_decay": 0},
        },
    )
    with tempfile.TemporaryDirectory() as folder:
        job = prepare_pretraining(Path(folder), recipe, read_unlabelled(options.data), CONSOLE, recorded=None).job
        model, optimizer = job.setup()
        device = job.feed.device
        prepared_batch = next(job.feed.train(1))
        job.model.train()

        def snellen_steps() -> Iterator[int]:
            for step, batch in enumerate(itertools.chain.from_iterable(job.feed.train(e) for e in itertools.count(1))):
                one_step(job, model, optimizer, batch, step)
                yield len(batch)

        def on_ready() -> Iterator[int]:
            for step in itertools.count():
                one_step(job, model, optimizer, prepared_batch, step)
                yield len(prepared_batch)

        lightly_method = LightlyByol(options.backbone, 100).to(device)
        loader = lightly_loader(Path(options.data), lightly_method.transform(options.size), options.batch)
        loops: dict[str, Callable[[], Iterator[int]]] = {
            f"snellen, {job.mode}": snellen_steps,
            f"the same on prepared views, {job.mode}": on_ready,
            "lightly's loop, fp32": lambda: lightly_steps(lightly_method, loader, device),
        }
        speeds: dict[str, list[float]] = {name: [] for name in loops}
        for _ in range(3):
            for name, loop in loops.items():
                speeds[name].append(_images_per_second(loop(), options.seconds, device))
    table = Table("loop", "images/s", "snellen is")
    first = statistics.median(next(iter(speeds.values())))
    for name, rounds in speeds.items():
        median = statistics.median(rounds)
        table.add_row(name, f"{median:.1f}", f"{first / median:.2f}x")
    CONSOLE.print(table)
    CONSOLE.print(_machine(device))


def quality(options: argparse.Namespace) -> None:
    """Prints the k-NN top-1 of lightly's loop as it trains; time spent scoring is not counted."""
    images = read_images(options.data, DataSpec())
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    evaluation = EvaluationTransformSpec(size=options.size)
    augmentation = Augmentation(AugmentationSpec(size=options.size), _IMAGENET, device)
    feeds = []
    for samples in (images.train, images.validation):
        paths = [images.root / sample.path for sample in samples]
        pixels, _ = load_pixels(paths, lambda path: evaluation_view(decode(path), evaluation), CacheBudget(8192))
        targets = torch.tensor([sample.label for sample in samples])
        feeds.append(
            Feed(
                pixels=pixels,
                views=pixels,
                targets=targets,
                classes=len(images.classes),
                augmentation=augmentation,
                mix=MixSpec(),
                batch_size=256,
                drop_last=False,
                seed=0,
                device=device,
                channels_last=False,
            )
        )

    def top1(model: LightlyByol | LightlySimCLR) -> float:
        (train, labels), (validation, targets) = (
            extract(model.backbone, feed.evaluate(), torch.enable_grad) for feed in feeds
        )
        model.train()
        votes = knn_probabilities(train, labels, validation, len(images.classes))
        return float((votes.argmax(1) == targets).mean())

    torch.manual_seed(options.seed)
    model = LIGHTLY[options.method](options.backbone, options.epochs).to(device)
    CONSOLE.print(f"untrained: k-NN top-1 {top1(model):.4f}")
    loader = lightly_loader(images.root / "train", model.transform(options.size), options.batch)
    seconds_spent, last_print, images_seen = 0.0, 0.0, 0
    start = time.perf_counter()
    for count in lightly_steps(model, loader, device):
        images_seen += count
        minutes = (seconds_spent + time.perf_counter() - start) / 60
        is_done = minutes >= options.minutes
        if is_done or minutes - last_print >= options.minutes / 6:
            seconds_spent, last_print = minutes * 60, minutes
            CONSOLE.print(
                f"{minutes:.1f} min, {images_seen / len(images.train):.2f} epochs: k-NN top-1 {top1(model):.4f}"
            )
            start = time.perf_counter()
        if is_done:
            break
    CONSOLE.print(_machine(device))


def _images_per_second(steps: Iterator[int], seconds: float, device: torch.device) -> float:
    for _ in range(_WARM_UP):
        next(steps)
    synchronise(device)
    start, images = time.perf_counter(), 0
    for count in steps:
        images += count
        if time.perf_counter() - start >= seconds:
            break
    synchronise(device)
    return images / (time.perf_counter() - start)


def _machine(device: torch.device) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    return f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}, Python {platform.python_version()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "quality"])
    parser.add_argument("data", help="a folder of images; for quality, with class folders in train/ and val/")
    parser.add_argument("--method", choices=LIGHTLY, default="byol", help="lightly's method, for quality")
    parser.add_argument("--backbone", default="resnet18", help="a torchvision network")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=20, help="seconds per loop in each of three rounds")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument(
        "--epochs", type=int, default=10, help="epochs over which lightly's schedule of BYOL's momentum runs"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    {"speed": speed, "quality": quality}[options.what](options)


if __name__ == "__main__":
    main()
