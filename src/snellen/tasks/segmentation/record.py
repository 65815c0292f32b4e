"""The results that a segmentation run keeps for each image: each file's writer next to its reader.

    data.json               in addition to what every run has: the class table, see ClassTable.as_dict
    samples.csv             row, split, path, mask, group
    predictions/counts.u4   (epochs, N, C, 3) uint32 row-major: true positive, false positive and false negative pixels
                            of each image and class at each scored epoch
    predictions/validation.npz   chosen epoch: confusion (N, C, C) int64, pixels by [truth, prediction]; boundary
                            (N, C, 4) int64: predicted boundary pixels, of these matched, true ones, of these matched;
                            epoch ()
    predictions/validation.csv   path, miou, pixel_accuracy of each image
    predictions/test.npz, test.csv   the same for the test part, if the data have one: scored once, when the run has
                            finished; and rows (n,) int64, which of its images
    snapshots/epoch_NNNN.npz     masks (n, H, W) uint8, predicted at the size of the image's own mask, padded with
                            255; sizes (n, 2) int64; rows (n,) int64 into the validation images

Ignored pixels, 255 in a mask, are excluded from all counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from snellen.insight.segmentation import by_image
from snellen.models.segmenters.build import load_trained_segmenter
from snellen.models.segmenters.segmenter import Segmenter
from snellen.recipe.load import read_resolved
from snellen.run.directory import RunDirectory, array_of
from snellen.run.writer import RunWriter
from snellen.tasks.segmentation.recipe import SegmentationRecipe

if TYPE_CHECKING:
    import pandas as pd

SAMPLE_COLUMNS = ("mask",)
EPOCH_COLUMNS = ("train_pixel_accuracy", "validation_loss", "validation_miou")
COUNTS = "predictions/counts.u4"


@dataclass(frozen=True)
class MaskPredictions:
    """How the chosen epoch's masks compare with the true ones, without ignored pixels.

    confusion: (N, C, C) int64 pixels by [truth, prediction]. boundary: (N, C, 4) int64: predicted boundary pixels, of
    these matched, true boundary pixels, of these matched. epoch: counted from 1. rows: (N,) int64, which rows of that
    part of samples.csv.
    """

    confusion: NDArray[np.int64]
    boundary: NDArray[np.int64]
    epoch: int
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class MaskSnapshot:
    """Predicted masks of some validation images after one epoch.

    masks: (n, H, W) uint8; mask i fills [: sizes[i, 0], : sizes[i, 1]], beyond it is 255. rows: (n,) int64, which
    validation images. epoch: counted from 1.
    """

    masks: NDArray[np.uint8]
    sizes: NDArray[np.int64]
    rows: NDArray[np.int64]
    epoch: int


def recipe_of(run: RunDirectory) -> SegmentationRecipe:
    """The resolved recipe of a segmentation run. Raises UserError for a run of another task."""
    return read_resolved(run.path / "recipe.yaml", SegmentationRecipe)


def load_model(run: RunDirectory, which: str) -> Segmenter:
    """The trained network, on the CPU, in evaluation mode. which: "best" (the chosen epoch) or "last"."""
    return load_trained_segmenter(run, recipe_of(run).model, which)


def write_validation(writer: RunWriter, confusion: NDArray[np.int64], boundary: NDArray[np.int64], epoch: int) -> None:
    """predictions/validation.npz, whose images are all validation images."""
    arrays = {"confusion": confusion, "boundary": boundary, "epoch": np.array(epoch, np.int64)}
    writer.arrays("predictions/validation.npz", arrays, compress=True)


def read_predictions(run: RunDirectory, part: str) -> MaskPredictions:
    """Counts on the images of a part at the chosen epoch. Raises UserError if it was not scored.

    part: "validation" or "test".
    """
    with run.arrays(f"predictions/{part}.npz") as arrays:
        classes, images = len(run.classes), run.count(part)
        confusion = array_of(arrays, "confusion", (None, classes, classes), "i")
        count = len(confusion)
        boundary = array_of(arrays, "boundary", (count, classes, 4), "i")
        rows = array_of({"rows": np.arange(count)} | dict(arrays), "rows", (count,), "i", below=images)
        return MaskPredictions(confusion, boundary, int(array_of(arrays, "epoch", (), "i")), rows)


def prediction_table(run: RunDirectory, part: str) -> pd.DataFrame:
    """predictions/PART.csv."""
    scored, samples = read_predictions(run, part), run.part(part)
    figures = zip(("miou", "pixel_accuracy"), by_image(scored.confusion), strict=True)
    return samples[["path"]].iloc[scored.rows].assign(**{name: values.round(6) for name, values in figures})


def by_epoch(run: RunDirectory) -> NDArray[np.uint32]:
    """(scored epochs, N, C, 3) true positive, false positive and false negative pixels.

    Memory-mapped, since the file may be large.
    """
    images = run.count("validation")
    with run.reading(COUNTS) as file:
        if not file.stat().st_size:
            return np.zeros((0, images, len(run.classes), 3), "<u4")
        return np.memmap(file, dtype="<u4", mode="r").reshape(-1, images, len(run.classes), 3)


def write_snapshot(writer: RunWriter, snapshot: MaskSnapshot) -> None:
    """snapshots/epoch_NNNN.npz."""
    arrays: dict[str, NDArray[Any]] = {"masks": snapshot.masks, "sizes": snapshot.sizes, "rows": snapshot.rows}
    writer.arrays(f"snapshots/epoch_{snapshot.epoch:04d}.npz", arrays, compress=True)


def read_snapshots(run: RunDirectory) -> list[MaskSnapshot]:
    """All snapshots of masks, by epoch."""
    snapshots = []
    for epoch, name in run.snapshot_files():
        with run.arrays(name) as arrays:
            rows = array_of(arrays, "rows", (None,), "i", below=run.count("validation"))
            masks = array_of(arrays, "masks", (len(rows), None, None), "u")
            sizes = array_of(arrays, "sizes", (len(rows), 2), "i", below=max(masks.shape[1:]) + 1)
            snapshots.append(MaskSnapshot(masks, sizes, rows, epoch))
    return snapshots
