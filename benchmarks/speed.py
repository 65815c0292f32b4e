"""Tables of speeds beside other tools, on one machine in one run; each figure a median of interleaved rounds.

    python benchmarks/speed.py clothing --weights lite0.safetensors
    python benchmarks/speed.py clothing --rows pipeline predict --seconds 5

DATA is a folder with train/ and val/ of class folders. The loops that snellen is compared with are written here after
timm's train.py and inference.py (the installed version is printed) and, in `snellen bench train` and
`benchmarks/pretraining.py`, after torchvision's reference and lightly's example. All use the same network, image size,
batch size and number of threads.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import timm
import timm.data
import timm.optim
import torch
from rich.console import Console
from rich.table import Table
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from snellen import shard, train
from snellen.commands.bench import images_per_second
from snellen.engine.budget import endless, trial_steps
from snellen.engine.environment import processor
from snellen.engine.loop import Job
from snellen.insight.projection import pca_by_epoch, tsne_by_epoch
from snellen.tasks.kinds import load_for

QUIET = Console(quiet=True)
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Options:
    """data: a folder with train/ and val/. work: an empty folder. seconds: of each loop in each round."""

    data: Path
    work: Path
    backbone: str
    weights: str | None
    side: int
    batch: int
    threads: int
    rounds: int
    seconds: float

    def recipe(self, **fields: Any) -> dict[str, Any]:
        """The recipe of the networks that are compared, as fields."""
        return {
            "model": {"backbone": self.backbone, "weights": self.weights},
            "batch_size": self.batch,
            "augmentation": {"size": self.side, "crop": "resized"},
            "evaluation": {"size": self.side},
            "optimizer": {"name": "adamw", "lr": 1e-4},
            "hardware": {"device": "cpu", "threads": self.threads},
            **fields,
        }


Row = tuple[str, str, list[float]]  # what, its unit, a value of each round
"""What is measured, its unit, its value."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--backbone", default="tf_efficientnet_lite0.in1k")
    parser.add_argument("--weights", help="a file; without it, random weights")
    parser.add_argument("--side", type=int, default=224, help="of the images, in px")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10)
    parsed = vars(parser.parse_args())
    rows = parsed.pop("rows")
    torch.set_num_threads(parsed["threads"])
    print(f"{processor()}, {parsed['threads']} threads, torch {torch.__version__}, timm {timm.__version__}")
    with tempfile.TemporaryDirectory() as work:
        options = Options(work=Path(work), **parsed)
        for name in rows:
            table = Table("", f"median of {parsed['rounds']}", "range", "of the first", box=None, pad_edge=False)
            measured = ROWS[name](options)
            for what, unit, values in measured:
                spread = f"{min(values):,.3g} to {max(values):,.3g}"
                ratios = [value / first for value, first in zip(values, measured[0][2], strict=True)]
                table.add_row(what, f"{median(values):,.3g} {unit}", spread, f"{median(ratios):.2f}")
            Console(width=120).print(table, "")


def interleaved(loops: Mapping[str, Callable[[], float]], rounds: int, unit: str) -> list[Row]:
    """Each loop once per round, in turn."""
    values: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(rounds):
        for name, loop in loops.items():
            values[name].append(loop())
    return [(name, unit, column) for name, column in values.items()]


def training(options: Options) -> list[Row]:
    """Training steps with augmentation, images in memory; timm's loop decodes them in every epoch, as it does."""
    fast, plain = _job(options, {}), _job(options, {"precision": "fp32"})
    loops = {
        f"snellen, {fast.mode}": lambda: trial_steps(fast, endless(fast.feed)),
        f"snellen, {plain.mode}": lambda: trial_steps(plain, endless(plain.feed)),
        "timm's loop, fp32": lambda: _timm_steps(options, amp=False),
        "timm's loop, bf16 autocast": lambda: _timm_steps(options, amp=True),
    }
    return interleaved(_timed(loops, options.seconds), options.rounds, "images/s")


def processes(options: Options) -> list[Row]:
    """An epoch of a fifth of the images, with one process and with two, each with its part of the threads."""

    def run(devices: int) -> float:
        out = options.work / f"processes-{devices}-{time.time_ns()}"
        recipe = options.recipe(epochs=1, snapshots={"images": 0}, data={"fraction": 0.2})
        recipe["hardware"] |= {"devices": devices, "threads": max(1, options.threads // devices)}
        return float(train(options.data, recipe, out=out, console=QUIET).status.images_per_second or 0)

    loops = {f"{devices} process{'es' * (devices > 1)}": lambda devices=devices: run(devices) for devices in (1, 2)}
    return interleaved(loops, options.rounds, "images/s")


def pipeline(options: Options) -> list[Row]:
    """Augmented batches without a network, from each place where images can be."""
    shards = options.work / "shards"
    shard(options.data, shards, console=QUIET)
    nowhere = {"cache_mib": 0, "disk_cache_mib": 0}
    jobs = {
        "batches from memory": _job(options, {}),
        "from the cache on disk": _job(options, {}, data={"cache_mib": 0}),
        "from files": _job(options, {}, data=nowhere),
        "from shards": _job(options, {}, data=nowhere, source=shards),
    }
    loops = {
        name: lambda job=job: (
            len(batch) for batch in itertools.chain.from_iterable(map(job.feed.train, range(1, 999)))
        )
        for name, job in jobs.items()
    }
    return interleaved(_timed(loops, options.seconds), options.rounds, "images/s")


def projections(options: Options) -> list[Row]:
    """The plane of 1,000 images with 1,280 features, at one epoch."""
    features = np.random.default_rng(0).standard_normal((1000, 1280)).astype(np.float32)
    features[:500, 0] += 8

    def reduced() -> np.ndarray[Any, Any]:
        return PCA(50).fit_transform(features)

    loops = {
        "t-SNE in reports": lambda: tsne_by_epoch([features]),
        "scikit-learn's TSNE on 50 components": lambda: TSNE(init="pca", random_state=0).fit_transform(reduced()),
        "PCA in reports": lambda: pca_by_epoch([features]),
        "scikit-learn's PCA": lambda: PCA(2).fit_transform(features),
    }
    return interleaved({name: _clock(loop) for name, loop in loops.items()}, options.rounds, "s")


def start_up(options: Options) -> list[Row]:
    """New processes."""
    commands = {
        "snellen --help": ["-m", "snellen", "--help"],
        "import snellen": ["-c", "import snellen"],
        "import torch": ["-c", "import torch"],
        "import timm": ["-c", "import timm"],
    }
    loops = {name: _clock(lambda command=command: _python(*command)) for name, command in commands.items()}
    return interleaved(loops, options.rounds, "s")


def predict(options: Options) -> list[Row]:
    """From the files in val/ to a table of the five likeliest classes; new processes, start-up included."""
    run = options.work / "run"
    train(options.data, options.recipe(epochs=1, data={"fraction": 0.02}), out=run, console=QUIET)
    images, table = options.data / "val", options.work / "predictions.csv"
    count = sum(path.suffix.lower() in {".jpg", ".png"} for path in images.rglob("*"))
    commands = {
        "snellen predict": ["-m", "snellen", "predict", str(run), str(images), "--out", str(table), "--force"],
        "a loop after timm's inference.py": [
            __file__,
            *("--timm-inference", str(images), str(table), options.backbone),
            *(str(options.side), str(options.batch), str(options.threads)),
        ],
    }
    loops = {name: _clock(lambda command=command: _python(*command)) for name, command in commands.items()}
    measured = interleaved(loops, options.rounds, "s")
    return [(name, "images/s", [count / seconds for seconds in column]) for name, _, column in measured]


ROWS: dict[str, Callable[[Options], list[Row]]] = {
    "training": training,
    "processes": processes,
    "pipeline": pipeline,
    "projections": projections,
    "start-up": start_up,
    "predict": predict,
}


def _job(
    options: Options, hardware: dict[str, Any], data: dict[str, Any] | None = None, source: Path | None = None
) -> Job:
    fields = options.recipe(data=data or {})
    fields["hardware"] |= hardware
    kind, recipe = load_for("train", fields, {})
    images = kind.data.read(source or options.data, recipe)
    folder = options.work / f"job-{time.time_ns()}"
    folder.mkdir()
    job: Job = kind.prepare.prepare(folder, recipe, images, QUIET, recorded=None).job
    return job


def _timm_steps(options: Options, amp: bool) -> Iterator[int]:
    """Training as in timm's train.py with its defaults for augmentation switched off: resized crops and flips."""
    loader = timm.data.create_loader(
        timm.data.create_dataset("", root=str(options.data / "train")),
        input_size=(3, options.side, options.side),
        batch_size=options.batch,
        is_training=True,
        use_prefetcher=False,
        no_aug=False,
        color_jitter=0,
        num_workers=options.threads,
        persistent_workers=False,
    )
    model = timm.create_model(options.backbone, num_classes=len(os.listdir(options.data / "train")))
    optimizer = timm.optim.create_optimizer_v2(model, "adamw", lr=1e-4, weight_decay=0.01)
    loss_of = torch.nn.CrossEntropyLoss()
    model.train()
    for images, target in itertools.chain.from_iterable(itertools.repeat(loader)):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=amp):
            loss = loss_of(model(images), target)
        loss.backward()
        optimizer.step()
        yield len(images)


def _timm_inference(images: str, table: str, backbone: str, side: str, batch: str, threads: str) -> None:
    """A table of the likeliest classes, as timm's inference.py writes it. The speed does not depend on the weights."""
    torch.set_num_threads(int(threads))
    dataset = timm.data.create_dataset("", root=images)
    classes = len(dataset.reader.class_to_idx)
    model = timm.create_model(backbone, num_classes=classes).eval()
    loader = timm.data.create_loader(
        dataset, (3, int(side), int(side)), int(batch), use_prefetcher=False, num_workers=int(threads)
    )
    with torch.inference_mode(), Path(table).open("w", newline="") as file:
        writer = csv.writer(file)
        names = iter(dataset.filenames(basename=False))
        for pixels, _ in loader:
            shares, classes_of = model(pixels).softmax(1).topk(min(5, classes))
            writer.writerows(
                [next(names), *row, *order] for row, order in zip(shares.tolist(), classes_of.tolist(), strict=True)
            )


def _timed(loops: Mapping[str, Callable[[], Iterator[int]]], seconds: float) -> dict[str, Callable[[], float]]:
    return {name: lambda loop=loop: images_per_second(loop(), seconds, CPU) for name, loop in loops.items()}


def _clock(work: Callable[[], Any]) -> Callable[[], float]:
    def seconds() -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return seconds


def _python(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--timm-inference"]:
        _timm_inference(*sys.argv[2:])
    else:
        main()
