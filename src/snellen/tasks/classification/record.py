"""The results that a classification run keeps for each image: each file's writer next to its reader.

    samples.csv             row, split, path, target, class, group
    predictions/correct.u8  one byte per scored epoch and image: 1 if the validation image was right; (epochs, N)
                            row-major
    predictions/classes.u1  the class predicted for each image at each scored epoch, laid out as correct.u8; with more
                            than 256 classes classes.u2, little-endian, with more than 65,536 classes.u4
    predictions/validation.npz   chosen epoch: probabilities (N, C) float32, target (N,) int64, epoch ()
    predictions/validation.csv   the same as a table: path, class, prediction, confidence, correct
    predictions/test.npz    the same for the test part, if the data have one: scored once, when the run has finished;
                            and rows (n,) int64, which of its images (unreadable ones are left out)
    predictions/test.csv    the same as a table
    snapshots/epoch_NNNN.npz     features (n, D) float32, rows (n,) int64 into the validation images, probabilities

Validation arrays are in the order of the validation rows of samples.csv.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from snellen.data.listing import Sample
from snellen.errors import UserError
from snellen.models.classifier import Classifier, load_trained
from snellen.recipe.load import read_resolved
from snellen.run.directory import RunDirectory, array_of
from snellen.run.writer import RunWriter
from snellen.tasks.classification.recipe import Recipe

if TYPE_CHECKING:
    import pandas as pd

SAMPLE_COLUMNS = ("target", "class")
EPOCH_COLUMNS = ("train_top1", "validation_loss", "validation_top1")
CORRECT = "predictions/correct.u8"


@dataclass(frozen=True)
class ImagePredictions:
    """Predictions of the scored weights for the validation or the test images, in the order of samples.csv.

    probabilities: (N, C) float32, rows sum to 1. target: (N,) int64 in [0, C). epoch: counted from 1. rows: (N,) int64,
    which rows of that part of samples.csv.
    """

    probabilities: NDArray[np.float32]
    target: NDArray[np.int64]
    epoch: int
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class Snapshot:
    """Features of some validation images after one epoch.

    features: (n, D) float32, the inputs of the last linear layer. rows: (n,) int64, which validation images.
    probabilities: (n, C) float32. epoch: counted from 1; 0 is the untrained network.
    """

    features: NDArray[np.float32]
    rows: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    epoch: int


def check_classes(run: RunDirectory) -> None:
    """Raises UserError if the names of the classes are no longer those that the run was trained with."""
    trained = run.samples()[["target", "class"]].drop_duplicates()
    for number, name in zip(trained["target"], trained["class"], strict=True):
        listed = run.classes[number] if number < len(run.classes) else None
        if listed != name:
            now = "no class has this number" if listed is None else f"it is called '{listed}'"
            raise UserError(
                f"{run.path / 'data.json'}: class {number} was '{name}' when the run was trained (samples.csv), and "
                f"now {now}. Restore data.json, or train the run again."
            )


def recipe_of(run: RunDirectory) -> Recipe:
    """The resolved recipe of a classification run. Raises UserError for a run of another task."""
    return read_resolved(run.path / "recipe.yaml", Recipe)


def load_model(run: RunDirectory, which: str) -> Classifier:
    """The trained network, on the CPU, in evaluation mode. which: "best" (the chosen epoch) or "last"."""
    recipe = recipe_of(run)
    return load_trained(run, recipe.model, recipe.augmentation.size, which)


def label_cells(sample: Sample, classes: Sequence[str]) -> tuple[int, str]:
    """The label and the class of an image in samples.csv; the class of an unlabelled one is empty."""
    return sample.label, classes[sample.label] if sample.label >= 0 else ""


def write_validation(
    writer: RunWriter, probabilities: NDArray[np.float32], target: NDArray[np.int64], epoch: int
) -> None:
    """predictions/validation.npz, whose images are all validation images."""
    arrays: dict[str, NDArray[Any]] = {
        "probabilities": probabilities,
        "target": target,
        "epoch": np.array(epoch, np.int64),
    }
    writer.arrays("predictions/validation.npz", arrays)


def read_predictions(run: RunDirectory, part: str) -> ImagePredictions:
    """Probabilities and targets of a part at the chosen epoch. Raises UserError if it was not scored.

    part: "validation" or "test".
    """
    with run.arrays(f"predictions/{part}.npz") as arrays:
        classes, images = len(run.classes), run.count(part)
        target = array_of(arrays, "target", (None,), "i", below=classes)
        count = len(target)
        probabilities = array_of(arrays, "probabilities", (count, classes), "f")
        rows = array_of({"rows": np.arange(count)} | dict(arrays), "rows", (count,), "i", below=images)
        return ImagePredictions(probabilities, target, int(array_of(arrays, "epoch", (), "i")), rows)


def prediction_table(run: RunDirectory, part: str) -> pd.DataFrame:
    """predictions/PART.csv."""
    scored, samples = read_predictions(run, part), run.part(part)
    names, predicted = np.array(run.classes), scored.probabilities.argmax(1)
    return (
        samples[["path", "class"]]
        .iloc[scored.rows]
        .assign(
            prediction=names[predicted],
            confidence=scored.probabilities.max(1).round(6),
            correct=(predicted == scored.target).astype(int),
        )
    )


def records(classes: int) -> tuple[str, str]:
    """The append-only files behind `by_epoch` and `classes_by_epoch`, for that many classes."""
    return CORRECT, class_file(classes)[0]


def by_epoch(run: RunDirectory) -> NDArray[np.bool_]:
    """(epochs, N) bool: which validation images were right after each epoch."""
    images = run.count("validation")
    with run.reading(CORRECT) as file:
        return np.fromfile(file, dtype=np.uint8).reshape(-1, images).astype(bool)


def classes_by_epoch(run: RunDirectory) -> NDArray[np.unsignedinteger[Any]] | None:
    """(epochs, N) class that is predicted for each validation image after each scored epoch, in [0, C).

    None if not kept for every epoch: in pretraining.
    """
    name, dtype = class_file(len(run.classes))
    if not (run.path / name).is_file():
        return None
    images = run.count("validation")
    with run.reading(name) as file:
        classes = np.fromfile(file, dtype=dtype).reshape(-1, images)
    return classes if len(classes) == len(by_epoch(run)) else None


def write_snapshot(writer: RunWriter, snapshot: Snapshot) -> None:
    """snapshots/epoch_NNNN.npz."""
    arrays: dict[str, NDArray[Any]] = {
        "features": snapshot.features,
        "probabilities": snapshot.probabilities,
        "rows": snapshot.rows,
    }
    writer.arrays(f"snapshots/epoch_{snapshot.epoch:04d}.npz", arrays)


def read_snapshots(run: RunDirectory) -> list[Snapshot]:
    """All snapshots of features, by epoch."""
    snapshots = []
    for epoch, name in run.snapshot_files():
        with run.arrays(name) as arrays:
            rows = array_of(arrays, "rows", (None,), "i", below=run.count("validation"))
            features, probabilities = (
                array_of(arrays, name, (len(rows), None), "f") for name in ("features", "probabilities")
            )
            snapshots.append(Snapshot(features, rows, probabilities, epoch))
    return snapshots


def class_file(classes: int) -> tuple[str, str]:
    """Name and dtype of the file that holds the predicted class of each image and epoch, for that many classes."""
    size = 1 if classes <= 1 << 8 else 2 if classes <= 1 << 16 else 4
    return f"predictions/classes.u{size}", f"<u{size}"
