"""Augmentation on the CPU: snellen's batches compared with torchvision v2 per image and with kornia's batches.

All three start from the same decoded uint8 images in memory, draw parameters for each image from the same
distributions, and return a normalised float32 batch. torchvision runs as in a DataLoader worker: one image at a time,
then stacked. Times are for one batch, the best of several interleaved rounds.

    pip install kornia
    OMP_NUM_THREADS=1 python benchmarks/augmentation.py
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import kornia
import kornia.augmentation as K
import torch
import torchvision
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torchvision.transforms import v2

from snellen.data.augment.pipeline import Augmentation, evaluation_view
from snellen.data.augment.spec import AugmentationSpec, EvaluationTransformSpec
from snellen.data.batch import RawBatch
from snellen.data.normalization import Normalization

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BILINEAR = v2.InterpolationMode.BILINEAR


@dataclass(frozen=True)
class Case:
    """One batch. torchvision, kornia: the equivalent transforms; None if kornia has none."""

    name: str
    images: int
    side: int
    spec: AugmentationSpec | EvaluationTransformSpec
    torchvision: list[Callable[[Tensor], Tensor]]
    kornia: list[torch.nn.Module] | None


CASES = [
    Case(
        "crop 32 padding 4, flip",
        512,
        32,
        AugmentationSpec(size=32, crop="random", padding=4),
        [v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip()],
        [K.RandomCrop((32, 32), padding=4), K.RandomHorizontalFlip()],
    ),
    Case(
        "crop 32 padding 4, rotation 10, flip",
        512,
        32,
        AugmentationSpec(size=32, crop="random", padding=4, rotation=10),
        [v2.RandomCrop(32, padding=4), v2.RandomRotation(10, BILINEAR), v2.RandomHorizontalFlip()],
        [K.RandomCrop((32, 32), padding=4), K.RandomRotation(10.0, p=1.0), K.RandomHorizontalFlip()],
    ),
    Case(
        "resized crop 224 of 256, flip",
        32,
        256,
        AugmentationSpec(size=224),
        [v2.RandomResizedCrop(224, antialias=True), v2.RandomHorizontalFlip()],
        [K.RandomResizedCrop((224, 224)), K.RandomHorizontalFlip()],
    ),
    Case(
        "crop 224 of 256, rotation 10, flip",
        32,
        256,
        AugmentationSpec(size=224, crop="random", rotation=10),
        [v2.RandomCrop(224), v2.RandomRotation(10, BILINEAR), v2.RandomHorizontalFlip()],
        [K.RandomCrop((224, 224)), K.RandomRotation(10.0, p=1.0), K.RandomHorizontalFlip()],
    ),
    Case(
        "resized crop 224, flip, jitter .3 .3 .3, erasing .1",
        32,
        256,
        AugmentationSpec(size=224, scale=(0.35, 1), jitter=(0.3, 0.3, 0.3, 0), erasing=0.1),
        [
            v2.RandomResizedCrop(224, (0.35, 1), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(0.3, 0.3, 0.3, 0),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
            v2.RandomErasing(0.1),
        ],
        [
            K.RandomResizedCrop((224, 224), (0.35, 1)),
            K.RandomHorizontalFlip(),
            K.ColorJitter(0.3, 0.3, 0.3, 0.0, p=1.0),
            K.Normalize(torch.tensor(MEAN), torch.tensor(STD)),
            K.RandomErasing((0.02, 0.33), (0.3, 3.3), p=0.1),
        ],
    ),
    Case(
        "BYOL view 128: jitter p .3, grey .2, flip, blur 3 p .2, resized crop",
        128,
        146,
        AugmentationSpec(
            size=128,
            jitter=(0.8, 0.8, 0.8, 0.2),
            jitter_probability=0.3,
            grey=0.2,
            blur=0.2,
            blur_kernel=3,
            blur_sigma=(1, 2),
        ),
        [
            v2.RandomResizedCrop(128, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.ColorJitter(0.8, 0.8, 0.8, 0.2)], p=0.3),
            v2.RandomGrayscale(0.2),
            v2.RandomApply([v2.GaussianBlur(3, (1.0, 2.0))], p=0.2),
        ],
        [
            K.RandomResizedCrop((128, 128)),
            K.RandomHorizontalFlip(),
            K.ColorJitter(0.8, 0.8, 0.8, 0.2, p=0.3),
            K.RandomGrayscale(p=0.2),
            K.RandomGaussianBlur((3, 3), (1.0, 2.0), p=0.2),
        ],
    ),
    Case(
        "jitter .4 .4 .4 .1 and blur 23 of every image, 224",
        32,
        224,
        AugmentationSpec(size=224, crop="center", flip=0, jitter=(0.4, 0.4, 0.4, 0.1), blur=1, blur_kernel=23),
        [v2.ColorJitter(0.4, 0.4, 0.4, 0.1), v2.GaussianBlur(23, (0.1, 2.0))],
        [K.ColorJitter(0.4, 0.4, 0.4, 0.1, p=1.0), K.RandomGaussianBlur((23, 23), (0.1, 2.0), p=1.0)],
    ),
    Case(
        "evaluation: resize 256 of 320, centre 224",
        32,
        320,
        EvaluationTransformSpec(size=224, resize=256),
        [v2.Resize(256, antialias=True), v2.CenterCrop(224)],
        None,
    ),
]


def snellen_batch(case: Case) -> Callable[[Tensor], Tensor]:
    """The case with snellen."""
    training = case.spec if isinstance(case.spec, AugmentationSpec) else AugmentationSpec()
    evaluation = case.spec if isinstance(case.spec, EvaluationTransformSpec) else EvaluationTransformSpec()
    augmentation = Augmentation(training, Normalization(MEAN, STD, "ImageNet"), torch.device("cpu"))
    generator, rows = torch.Generator().manual_seed(0), torch.arange(case.images)
    sizes = torch.full((case.images, 2), case.side)

    def batch(pixels: Tensor) -> Tensor:
        raw = RawBatch(pixels, sizes, uniform=True)
        if training is case.spec:
            return augmentation.train(raw, generator, epoch=1, rows=rows)
        return augmentation.evaluate(torch.stack([evaluation_view(image, evaluation) for image in pixels]))

    return batch


def torchvision_batch(case: Case) -> Callable[[Tensor], Tensor]:
    """The case with torchvision v2, image by image."""
    steps = list(case.torchvision)
    if not any(isinstance(step, v2.Normalize) for step in steps):
        steps += [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    chain = v2.Compose(steps)
    return lambda pixels: torch.stack([chain(image) for image in pixels])


def kornia_batch(case: Case) -> Callable[[Tensor], Tensor] | None:
    """The case with kornia, with separate parameters for each image."""
    if case.kornia is None:
        return None
    steps = list(case.kornia)
    if not any(isinstance(step, K.Normalize) for step in steps):
        steps.append(K.Normalize(torch.tensor(MEAN), torch.tensor(STD)))
    chain = torch.nn.Sequential(*steps)
    return lambda pixels: chain(pixels.float().div_(255))


def best_times(batches: list[Callable[[Tensor], Tensor] | None], pixels: Tensor, rounds: int) -> list[float | None]:
    """Seconds of the fastest round of each; rounds are interleaved, so that a busy machine slows all equally."""
    best = [None if batch is None else float("inf") for batch in batches]
    for batch in filter(None, batches):
        batch(pixels)  # warms up
    for _ in range(rounds):
        for index, batch in enumerate(batches):
            if batch is not None:
                start = time.perf_counter()
                batch(pixels)
                best[index] = min(best[index], time.perf_counter() - start)
    return best


def processor() -> str:
    """The name of the processor, if the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="timed rounds per case")
    rounds = parser.parse_args().rounds
    torch.manual_seed(0)
    versions = f"torch {torch.__version__}, torchvision {torchvision.__version__}, kornia {kornia.__version__}"
    table = Table(
        "case",
        "images",
        "snellen ms",
        "torchvision ms",
        "kornia ms",
        "× torchvision",
        "× kornia",
        title=f"one batch; {versions}; {processor()}, {torch.get_num_threads()} thread(s); best of {rounds}",
    )
    for case in CASES:
        small = torch.rand(case.images, 3, 16, 16) * 255
        pixels = torch.nn.functional.interpolate(small, case.side, mode="bicubic").clamp(0, 255).to(torch.uint8)
        times = best_times([snellen_batch(case), torchvision_batch(case), kornia_batch(case)], pixels, rounds)
        snellen_time = times[0]
        milliseconds = ["-" if seconds is None else f"{seconds * 1e3:.1f}" for seconds in times]
        ratios = ["-" if seconds is None else f"{seconds / snellen_time:.1f}" for seconds in times[1:]]
        table.add_row(case.name, str(case.images), *milliseconds, *ratios)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
