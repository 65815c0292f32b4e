"""Run directories in the real formats, within a second: a two-layer network in NumPy learns scikit-learn's digits.

The features, curves and mistakes are those of a real, small training run, so that a report made from them looks as one
does; only the hardware and the times are invented. To look at reports while working on the page:

    python -m tests.reporting.fake_runs FOLDER
"""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from snellen.engine.journal import epoch_fields
from snellen.recipe.load import dump
from snellen.run.directory import FORMAT
from snellen.runs import Run
from snellen.tasks.classification.record import class_file
from snellen.tasks.classification.task import Classification
from snellen.tasks.kinds import load_recipe
from snellen.tasks.pretraining.task import Pretraining

Floats = NDArray[np.float64]
_NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
_TILT = ["upright", "leaning left", "upside down", "leaning right", "mirrored"]


@dataclass(frozen=True)
class Images:
    """Digits as files below `root`: noisy enough that a network errs. pixels: (N, 64) in [0, 1]; train: (N,) bool."""

    root: Path
    classes: list[str]
    paths: list[str]
    pixels: Floats
    target: NDArray[np.int64]
    train: NDArray[np.bool_]


@dataclass
class Network:
    """One hidden layer with ReLU, whose outputs are the features, and a linear layer."""

    first: Floats
    last: Floats

    @classmethod
    def new(cls, hidden: int, classes: int, generator: np.random.Generator, inputs: int = 64) -> Network:
        return cls(generator.normal(0, 0.18, (inputs + 1, hidden)), generator.normal(0, 0.05, (hidden + 1, classes)))

    def features(self, pixels: Floats) -> Floats:
        return np.maximum(0, _with_one(pixels) @ self.first)

    def probabilities(self, pixels: Floats) -> Floats:
        logits = _with_one(self.features(pixels)) @ self.last
        shares = np.exp(logits - logits.max(1, keepdims=True))
        return np.asarray(shares / shares.sum(1, keepdims=True))

    def step(self, pixels: Floats, target: NDArray[np.int64], rate: float) -> tuple[float, int]:
        """One step of gradient descent; the mean loss, and how many images were right."""
        features, shares = self.features(pixels), self.probabilities(pixels)
        true_shares = shares[np.arange(len(target)), target]
        slope = (shares - np.eye(shares.shape[1])[target]) / len(target)
        below = (slope @ self.last[:-1].T) * (features > 0)
        self.last -= rate * _with_one(features).T @ slope
        self.first -= rate * _with_one(pixels).T @ below
        return float(-np.log(true_shares).mean()), int((shares.argmax(1) == target).sum())


@dataclass(frozen=True)
class Plan:
    """What a run is to look like. stop: epochs after which it was interrupted. frozen: only the last layer learns."""

    name: str
    epochs: int = 20
    rate: float = 0.5
    hidden: int = 48
    frozen: bool = False
    seed: int = 0
    stop: int | None = None
    speed: float = 820.0
    overrides: dict[str, Any] = field(default_factory=dict)


def write_images(root: Path, classes: int = 10, per_class: int = 60, noise: float = 0.28) -> Images:
    """PNG files of 32 px in class folders; more than ten classes are digits turned and mirrored."""
    digits, generator = load_digits(), np.random.default_rng(0)
    names = [n if classes <= 10 else f"{n}, {t}" for n, t in itertools.product(_NAMES, _TILT[: -(-classes // 10)])]
    paths, pixels, target, train = [], [], [], []
    for label, name in enumerate(names[:classes]):
        turns = -(-classes // 10)
        digit, turn = divmod(label, turns)
        for number, row in enumerate(np.flatnonzero(digits.target == digit)[:per_class]):
            image = np.rot90(digits.images[row] / 16, turn % 4)
            image = np.fliplr(image) if turn == 4 else image
            image = np.clip(image + generator.normal(0, noise, image.shape), 0, 1)
            path = root / name / f"{number:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            tint = np.array([0.35, 0.55, 1.0]) if label % 2 else np.array([1.0, 0.85, 0.5])
            pixels_of_image = (255 * image[..., None] * tint).astype(np.uint8)
            Image.fromarray(pixels_of_image).resize((32, 32), Image.Resampling.BICUBIC).save(path)
            paths.append(f"{name}/{number:03}.png")
            pixels.append(image.ravel())
            target.append(label)
            train.append(number % 3 > 0)
    return Images(root, names[:classes], paths, np.array(pixels), np.array(target), np.array(train))


def write_run(path: Path, images: Images, plan: Plan, groups: Sequence[str] | None = None) -> Run:
    """A run directory as `snellen train` leaves it. groups: one name for each image; None: the images have none."""
    path.mkdir(parents=True)
    fields = {"name": plan.name, "seed": plan.seed, "epochs": plan.epochs, "optimizer.lr": plan.rate}
    fields |= {"model.width": plan.hidden / 64, "model.freeze": plan.frozen}
    fields |= {"evaluation.choose": "best"}
    recipe = load_recipe("airnet-scratch", fields | plan.overrides)
    (path / "recipe.yaml").write_text(dump(recipe))
    _write_samples(path, images, groups)
    write_json(path / "data.json", _data(images, groups is not None))
    write_json(path / "environment.json", _environment(plan, images))
    epochs_done, chosen_epoch, top1 = _train(
        path, images, plan, recipe.evaluation.choose == "best", recipe.snapshots.due
    )
    images_seen = epochs_done * int(images.train.sum())
    status = {
        "state": "finished" if epochs_done == plan.epochs else "interrupted",
        "epochs_done": epochs_done,
        "epochs": plan.epochs,
        "steps_done": epochs_done * _steps(images),
        "seconds_training": round(images_seen / plan.speed, 2),
        "seconds_evaluating": round(0.1 * images_seen / plan.speed, 2),
        "images_per_second": plan.speed if epochs_done else None,
        "peak_memory_mib": 812.4,
        "chosen_epoch": chosen_epoch or None,
        "measure": "top-1",
        "score": top1 if chosen_epoch else None,
        "low": None,
        "high": None,
        "images": int((~images.train).sum()),
    }
    write_json(path / "status.json", status)
    return Run(path)


def write_pretraining_run(path: Path, images: Images, plan: Plan) -> Run:
    """A run as `snellen pretrain` leaves it: the training images are learnt from without labels, and known with them.

    What its neighbours say of the validation images is what the network of `write_run` says.
    """
    run = write_run(path, images, replace(plan, overrides={"evaluation.choose": "last"}))
    samples, metrics = run.samples().astype({"target": "Int64"}), run.metrics()
    fields = {"name": plan.name, "seed": plan.seed, "epochs": plan.epochs, "evaluation.data": str(images.root)}
    (path / "recipe.yaml").write_text(dump(load_recipe("simclr-small", fields)))
    unlabelled = samples[samples["split"] == "train"].assign(target=pd.NA, **{"class": ""})
    labelled_rows = samples[samples["split"] == "train"].assign(split="known")
    parts = [unlabelled, labelled_rows, samples[samples["split"] == "validation"]]
    pd.concat(parts).assign(row=range(sum(map(len, parts)))).to_csv(path / "samples.csv", index=False)
    counts = {"train": len(unlabelled), "known": len(labelled_rows), "validation": len(parts[2])}
    data = {key: value for key, value in run.data.items() if key != "per_class"}
    write_json(path / "data.json", data | {"counts": counts, "at_start": {"knn_top1": 0.11, "effective_rank": 2.5}})
    write_json(path / "status.json", run.status.as_dict() | {"measure": "k-NN top-1"})
    rows = [
        [epoch, step, rate, loss, 0.8, 0.7, 0.9, 12.5, top1, 0.5 if epoch == plan.epochs else "", seconds, speed]
        for epoch, step, rate, loss, _, _, top1, _, seconds, speed in metrics.itertuples(index=False)
    ]
    write_rows(path / "epochs.csv", epoch_fields(Pretraining.train_metric, Pretraining.columns), rows)
    (path / class_file(len(images.classes))[0]).unlink()
    return Run(path)


def _train(path: Path, images: Images, plan: Plan, best: bool, due: Any) -> tuple[int, int, float]:
    """Trains and writes all that grows with the epochs; returns epochs done, the chosen epoch, its top-1."""
    generator = np.random.default_rng(plan.seed)
    network = Network.new(plan.hidden, len(images.classes), generator)
    train, validation = np.flatnonzero(images.train), np.flatnonzero(~images.train)
    rows = np.sort(generator.permutation(len(validation))[:1000])
    pixels, target = images.pixels[validation], images.target[validation]
    for name in ("predictions", "snapshots"):
        (path / name).mkdir()
    epochs_done = plan.epochs if plan.stop is None else plan.stop
    epochs, steps, correct, classes = [], [], [], []
    chosen_epoch, best_count = 0, -1
    for epoch in range(1, epochs_done + 1):
        loss_sum, right = 0.0, 0
        for step, batch in enumerate(_batches(train, generator), start=(epoch - 1) * _steps(images) + 1):
            rate = plan.rate * (1 - (step - 1) / (plan.epochs * _steps(images)))
            initial_weights = network.first.copy()
            loss, batch_hits = network.step(images.pixels[batch], images.target[batch], rate)
            if plan.frozen:
                network.first = initial_weights
            loss_sum, right = loss_sum + loss * len(batch), right + batch_hits
            steps.append([step, epoch, loss, rate, "", round(step * 32 / plan.speed, 3)])
        shares = network.probabilities(pixels)
        classes.append(shares.argmax(1))
        correct.append(classes[-1] == target)
        true_shares = shares[np.arange(len(target)), target]
        top5 = float(((shares > true_shares[:, None]).sum(1) < 5).mean())
        scores = [-float(np.log(true_shares).mean()), float(correct[-1].mean()), top5]
        seconds = round(epoch * len(train) / plan.speed, 3)
        row = [epoch, epoch * _steps(images), rate, loss_sum / len(train), right / len(train)]
        epochs.append([*row, *scores, seconds, plan.speed])
        if correct[-1].sum() > best_count or not best:
            chosen_epoch, best_count = epoch, int(correct[-1].sum())
            kept_shares = shares
        if epoch in due(plan.epochs):
            arrays = {"features": network.features(pixels[rows]), "probabilities": shares[rows]}
            arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
            np.savez(path / "snapshots" / f"epoch_{epoch:04d}.npz", rows=rows, **arrays)
    write_rows(path / "epochs.csv", epoch_fields(Classification.train_metric, Classification.columns), epochs)
    write_rows(path / "steps.csv", ["step", "epoch", "loss", "learning_rate", "gradient_norm", "seconds"], steps)
    (path / "predictions" / "correct.u8").write_bytes(np.array(correct, dtype=np.uint8).tobytes())
    name, dtype = class_file(len(images.classes))
    (path / name).write_bytes(np.array(classes, dtype=dtype).tobytes())
    if chosen_epoch:
        _write_predictions(path, images, kept_shares, chosen_epoch)
    return epochs_done, chosen_epoch, best_count / len(validation)


def _write_predictions(path: Path, images: Images, shares: Floats, epoch: int) -> None:
    validation = np.flatnonzero(~images.train)
    target, prediction = images.target[validation], shares.argmax(1)
    np.savez(
        path / "predictions" / "validation.npz",
        probabilities=shares.astype(np.float32),
        target=target,
        epoch=np.int64(epoch),
    )
    write_rows(
        path / "predictions" / "validation.csv",
        ["path", "class", "prediction", "confidence", "correct"],
        [
            [
                images.paths[row],
                images.classes[label],
                images.classes[predicted],
                round(float(share), 6),
                int(label == predicted),
            ]
            for row, label, predicted, share in zip(validation, target, prediction, shares.max(1), strict=True)
        ],
    )


def _write_samples(path: Path, images: Images, groups: Sequence[str] | None) -> None:
    order = [*np.flatnonzero(images.train), *np.flatnonzero(~images.train)]
    rows = []
    for number, row in enumerate(order):
        label = int(images.target[row])
        group = "" if groups is None else groups[row]
        split = "train" if images.train[row] else "validation"
        rows.append([number, split, images.paths[row], label, images.classes[label], group])
    write_rows(path / "samples.csv", ["row", "split", "path", "target", "class", "group"], rows)


def _data(images: Images, grouped: bool) -> dict[str, Any]:
    count = len(images.classes)
    parts = {"train": images.train, "validation": ~images.train}
    mean, std = float(images.pixels.mean()), float(images.pixels.std())
    return {
        "source": str(images.root),
        "root": str(images.root),
        "layout": "class folders",
        "classes": images.classes,
        "counts": {name: int(rows.sum()) for name, rows in parts.items()},
        "per_class": {name: np.bincount(images.target[rows], minlength=count).tolist() for name, rows in parts.items()},
        "split": "a third held out by content hash",
        "fingerprint": hashlib.sha256(images.pixels.tobytes()).hexdigest(),
        "normalization": {"mean": [mean] * 3, "std": [std] * 3, "source": "measured on the training images"},
        "notes": [],
        "left_out": [],
        "leaked": {"validation": []},
        "group": grouped,
    }


def _environment(plan: Plan, images: Images) -> dict[str, Any]:
    numbers = 65 * plan.hidden + (plan.hidden + 1) * len(images.classes)
    trained_parameters = (plan.hidden + 1) * len(images.classes) if plan.frozen else numbers
    return environment(plan.name, "airnet-scratch", images.root.name, plan.seed, numbers) | {
        "trainable_parameters": trained_parameters
    }


def environment(name: str, recipe: str, data: str, seed: int, parameters: int) -> dict[str, Any]:
    """environment.json of an invented machine."""
    mode = {"precision": "bf16", "channels_last": True, "compiled": False, "unfolded": False}
    return {
        "format": FORMAT,
        "snellen": "0.1.0",
        "python": "3.12.7",
        "packages": {"torch": "2.9.0", "torchvision": "0.24.0", "timm": "1.0.22", "numpy": "2.3.4"},
        "platform": "Linux-6.8.0-x86_64-with-glibc2.39",
        "cpu": "AMD Ryzen 7 7840U",
        "cores": 8,
        "threads": 8,
        "gpu": None,
        "device": "cpu",
        "git": None,
        "command": f"snellen train {recipe} {data} --out {name}",
        "started": "2026-03-02T09:41:07+00:00",
        "seed": seed,
        **mode,
        "measured": [{**mode, "images": 64, "seconds_per_step": 0.06}],
        "parameters": parameters,
        "trainable_parameters": parameters,
        "macs": parameters,
        "weights": {"source": "from scratch", "loaded": 0, "missing": [], "unexpected": [], "mismatched": []},
    }


def _steps(images: Images) -> int:
    return -(-int(images.train.sum()) // 32)


def _batches(rows: NDArray[np.int64], generator: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    order = generator.permutation(rows)
    return (order[start : start + 32] for start in range(0, len(order), 32))


def _with_one(values: Floats) -> Floats:
    return np.hstack([values, np.ones((len(values), 1))])


def write_rows(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([header, *rows])


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")


def write_gallery(folder: Path) -> None:
    """Reports of one run, two, five on 50 classes, and one that was interrupted, below `folder`."""
    from snellen.commands.report import report as build_report

    few = write_images(folder / "digits", 10, 120)
    larger_set = write_images(folder / "turned", 50, 40, noise=0.2)
    deep_run = write_run(folder / "deep", few, Plan("deep"))
    shallow_run = write_run(folder / "shallow", few, Plan("shallow", frozen=True, rate=0.3, speed=2400.0))
    stopped_run = write_run(folder / "stopped", few, Plan("stopped", stop=7))
    unscored = write_run(folder / "unscored", few, Plan("unscored", stop=0))
    grouped = write_run(
        folder / "grouped", few, Plan("grouped"), [f"patient {row % 40}" for row in range(len(few.paths))]
    )
    settings = [
        Plan("transfer-a", 30, 0.6),
        Plan("transfer-b", 30, 0.6, seed=1),
        Plan("transfer-c", 30, 0.5, hidden=64),
        Plan("transfer-d", 30, 0.4, frozen=True),
        Plan("transfer-e", 30, 0.4, frozen=True, seed=3),
    ]
    five_runs = [write_run(folder / plan.name, larger_set, plan) for plan in settings]
    pages = {
        "one": [deep_run],
        "two": [deep_run, shallow_run],
        "five": five_runs,
        "stopped": [stopped_run],
        "unscored": [unscored, deep_run],
    }
    for name, runs in (pages | {"grouped": [grouped], "many": five_runs[:1]}).items():
        print(build_report(runs, folder / f"{name}.html"))


if __name__ == "__main__":
    write_gallery(Path(sys.argv[1]).resolve())
