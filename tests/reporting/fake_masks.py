"""Segmentation runs in the real formats, within seconds: a pixel-wise network in NumPy learns drawn land cover.

Curves, masks and mistakes are those of a real, small training run; only the hardware and the times are invented. To
look at reports while working on the page:

    python -m tests.reporting.fake_masks FOLDER
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter
from tests.reporting.fake_runs import Network, environment, write_json, write_rows

from snellen.data.masks.classes import LAND_COVER
from snellen.engine.journal import epoch_fields
from snellen.insight.segmentation import by_image, counts_of, miou
from snellen.recipe.load import dump
from snellen.runs import Run
from snellen.tasks.kinds import load_recipe
from snellen.tasks.segmentation.boundary import boundary_counts
from snellen.tasks.segmentation.task import Segmentation, confusion_counts

Floats = NDArray[np.float64]
Labels = NDArray[np.uint8]
# Of urban, agriculture, rangeland, forest, water, barren.
_TINTS = np.array([(60, 60, 62), (72, 68, 35), (60, 52, 34), (20, 40, 20), (20, 35, 50), (80, 75, 65)]) / 100


@dataclass(frozen=True)
class Scenes:
    """Images and masks as files below `root`. pixels: (N, h, w, 3) in [0, 1]. labels: (N, h, w), 255 where unknown."""

    root: Path
    names: list[str]
    pixels: Floats
    labels: Labels
    train: NDArray[np.bool_]


@dataclass(frozen=True)
class MaskPlan:
    """What a run is to look like. blurs: what the network sees of a pixel's neighbourhood. stop: epochs done."""

    name: str
    epochs: int = 12
    rate: float = 0.8
    blurs: tuple[float, ...] = (0.8, 2.5)
    seed: int = 0
    stop: int | None = None
    overrides: dict[str, Any] = field(default_factory=dict)


def draw_scenes(root: Path, count: int = 30, size: tuple[int, int] = (96, 128), seed: int = 0) -> Scenes:
    """Images of smooth regions in the reference's layout, {train,validation}/NNNN_sat.jpg and NNNN_mask.png."""
    generator = np.random.default_rng(seed)
    names, pixels, labels = [], [], []
    train = np.arange(count) % 3 > 0
    colours = np.array([*LAND_COVER.colours, *[(0, 0, 0)] * 250], np.uint8)
    for number in range(count):
        fields = gaussian_filter(generator.normal(size=(len(LAND_COVER), *size)), (0, 9, 9))
        label = (fields / fields.std() + generator.normal(0, 0.6, (len(LAND_COVER), 1, 1))).argmax(0).astype(np.uint8)
        label[gaussian_filter(generator.normal(size=size), 6) > 0.1] = 255
        noise = generator.normal(0, 0.1, (*size, 3)) + gaussian_filter(generator.normal(0, 1.2, (*size, 3)), (4, 4, 0))
        image = np.clip(np.where(label[..., None] < 255, _TINTS[label.clip(max=5)], 0.1) + noise, 0, 1)
        folder = root / ("train" if train[number] else "validation")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((255 * image).astype(np.uint8)).save(folder / f"{number:04}_sat.jpg", quality=92)
        Image.fromarray(colours[np.minimum(label, 6)]).save(folder / f"{number:04}_mask.png")
        names.append(f"{folder.name}/{number:04}")
        pixels.append(image)
        labels.append(label)
    return Scenes(root, names, np.array(pixels), np.array(labels), train)


def write_mask_run(path: Path, scenes: Scenes, plan: MaskPlan, groups: Sequence[str] | None = None) -> Run:
    """A run directory as `snellen train` leaves it. groups: one name for each scene; None: the scenes have none."""
    path.mkdir(parents=True)
    fields = {"name": plan.name, "seed": plan.seed, "epochs": plan.epochs, "optimizer.lr": plan.rate}
    fields |= {"evaluation.choose": "best"}
    recipe = load_recipe("segment-lite", fields | plan.overrides)
    (path / "recipe.yaml").write_text(dump(recipe))
    order = [*np.flatnonzero(scenes.train), *np.flatnonzero(~scenes.train)]
    rows = []
    for number, row in enumerate(order):
        name, group = scenes.names[row], "" if groups is None else groups[row]
        rows.append([number, name.split("/")[0], f"{name}_sat.jpg", f"{name}_mask.png", group])
    write_rows(path / "samples.csv", ["row", "split", "path", "mask", "group"], rows)
    write_json(path / "data.json", _data(scenes, groups is not None))
    machine = environment(plan.name, "segment-lite", scenes.root.name, plan.seed, 30_000)
    write_json(path / "environment.json", machine)
    epochs_done, chosen_epoch, best = _train(path, scenes, plan, recipe)
    status = {
        "state": "finished" if epochs_done == plan.epochs else "interrupted",
        "epochs_done": epochs_done,
        "epochs": plan.epochs,
        "steps_done": epochs_done * 8,
        "seconds_training": 41.5 * epochs_done,
        "seconds_evaluating": 6.25 * epochs_done,
        "images_per_second": 8.4 if epochs_done else None,
        "peak_memory_mib": 2312.4,
        "chosen_epoch": chosen_epoch or None,
        "measure": "mIoU",
        "score": best if chosen_epoch else None,
        "low": None,
        "high": None,
        "images": 0,
    }
    write_json(path / "status.json", status)
    return Run(path)


def _train(path: Path, scenes: Scenes, plan: MaskPlan, recipe: Any) -> tuple[int, int, float]:
    """Trains and writes all that grows with the epochs; returns epochs done, the chosen epoch, its mIoU."""
    generator = np.random.default_rng(plan.seed)
    classes = len(LAND_COVER)
    features = np.concatenate(
        [scenes.pixels, *(gaussian_filter(scenes.pixels, (0, blur, blur, 0)) for blur in plan.blurs)], axis=-1
    )
    features = (features - 0.4) / 0.2
    network = Network.new(32, classes, generator, inputs=features.shape[-1])
    validation = np.flatnonzero(~scenes.train)
    target = torch.from_numpy(scenes.labels[validation]).long()
    snapshot_rows = np.sort(generator.permutation(len(validation))[: recipe.snapshots.images])
    is_scored = scenes.train[:, None, None] & (scenes.labels < 255)
    inputs, truth = features[is_scored], scenes.labels[is_scored].astype(np.int64)
    for name in ("predictions", "snapshots"):
        (path / name).mkdir()
    epochs_done = plan.epochs if plan.stop is None else plan.stop
    epochs, counts = [], []
    chosen_epoch, best = 0, -1.0
    for epoch in range(1, epochs_done + 1):
        rate, loss, right = plan.rate * (1 - (epoch - 1) / plan.epochs) ** 0.9, 0.0, 0
        for _ in range(8):
            batch = generator.integers(0, len(truth), 256)
            batch_loss, batch_hits = network.step(inputs[batch], truth[batch], rate)
            loss, right = loss + batch_loss / 8, right + batch_hits
        shares = network.probabilities(features[validation].reshape(-1, features.shape[-1])).reshape(
            *target.shape, classes
        )
        masks = torch.from_numpy(shares.argmax(-1))
        confusion = confusion_counts(masks, target, classes).numpy()
        counts.append(counts_of(confusion))
        has_label = scenes.labels[validation] < 255
        true_shares = np.take_along_axis(
            shares[has_label], scenes.labels[validation][has_label][:, None].astype(int), 1
        )
        accuracy = float(np.trace(confusion.sum(0)) / confusion.sum())
        scores = [-float(np.log(true_shares).mean()), miou(confusion), accuracy]
        epochs.append([epoch, 8 * epoch, rate, loss, right / 2048, *scores, round(47.75 * epoch, 3), 8.4])
        if miou(confusion) > best:
            chosen_epoch, best = epoch, miou(confusion)
            _write_predictions(path, scenes, confusion, masks, target, epoch)
        if epoch in recipe.snapshots.due(plan.epochs):
            sizes = np.tile(np.array(target.shape[1:], np.int64), (len(snapshot_rows), 1))
            arrays = {"masks": masks[snapshot_rows].byte().numpy(), "sizes": sizes, "rows": snapshot_rows}
            np.savez_compressed(path / "snapshots" / f"epoch_{epoch:04d}.npz", **arrays)
    write_rows(path / "epochs.csv", epoch_fields(Segmentation.train_metric, Segmentation.columns), epochs)
    (path / "predictions" / "counts.u4").write_bytes(np.array(counts).astype("<u4").tobytes())
    return epochs_done, chosen_epoch, best


def _write_predictions(
    path: Path, scenes: Scenes, confusion: NDArray[np.int64], masks: torch.Tensor, target: torch.Tensor, epoch: int
) -> None:
    boundary = boundary_counts(masks, target, len(LAND_COVER), 3).numpy()
    np.savez(path / "predictions" / "validation.npz", confusion=confusion, boundary=boundary, epoch=np.int64(epoch))
    names = [scenes.names[row] for row in np.flatnonzero(~scenes.train)]
    figures = zip(names, *by_image(confusion), strict=True)
    rows = [[f"{name}_sat.jpg", round(float(score), 6), round(float(right), 6)] for name, score, right in figures]
    write_rows(path / "predictions" / "validation.csv", ["path", "miou", "pixel_accuracy"], rows)


def _data(scenes: Scenes, grouped: bool) -> dict[str, Any]:
    parts = {"train": scenes.labels[scenes.train], "validation": scenes.labels[~scenes.train]}
    counts = {side: np.bincount(labels.ravel(), minlength=256).tolist() for side, labels in parts.items()}
    return {
        "source": str(scenes.root),
        "root": str(scenes.root),
        "layout": "NNNN_sat and NNNN_mask",
        **LAND_COVER.as_dict(),
        "training_sizes": {
            "median": [32, 32],
            "largest": [32, 32],
            "median_shorter": 32,
            "largest_shorter": 32,
        },
        "counts": {side: len(labels) for side, labels in parts.items()},
        "per_class_pixels": {side: pixels[: len(LAND_COVER)] for side, pixels in counts.items()},
        "ignored_pixels": {side: pixels[255] for side, pixels in counts.items()},
        "split": "split as given",
        "fingerprint": hashlib.sha256(scenes.labels.tobytes()).hexdigest(),
        "normalization": {"mean": [0.4] * 3, "std": [0.2] * 3, "source": "measured on the training images"},
        "notes": [],
        "left_out": [],
        "leaked": {"validation": []},
        "group": grouped,
    }


def write_gallery(folder: Path) -> None:
    """Reports of one run, two, five, and of runs that were interrupted or not scored, below `folder`."""
    from snellen.commands.report import report as build_report

    scenes = draw_scenes(folder / "scenes", 75, (192, 256))
    few = draw_scenes(folder / "few", 24)
    wide_run = write_mask_run(folder / "wide", scenes, MaskPlan("fcn32s-vgg16", 50))
    narrow = write_mask_run(folder / "narrow", scenes, MaskPlan("deeplabv3-resnet50-poly1", 50, blurs=(), seed=1))
    close = [write_mask_run(folder / f"close{seed}", few, MaskPlan(f"seed {seed}", 12, seed=seed)) for seed in range(5)]
    stopped_run = write_mask_run(folder / "stopped", few, MaskPlan("stopped", stop=5))
    unscored = write_mask_run(folder / "unscored", few, MaskPlan("unscored", stop=0))
    grouped = write_mask_run(folder / "grouped", few, MaskPlan("grouped"), [f"field {row % 6}" for row in range(24)])
    pages = {"one": [wide_run], "two": [wide_run, narrow], "close": close[:2], "five": close, "stopped": [stopped_run]}
    pages |= {"unscored": [unscored, stopped_run], "grouped": [grouped], "unlike": [wide_run, stopped_run]}
    for name, runs in pages.items():
        print(build_report(runs, folder / f"{name}.html"))


if __name__ == "__main__":
    write_gallery(Path(sys.argv[1]).resolve())
