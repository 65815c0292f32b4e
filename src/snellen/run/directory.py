"""The directory that a run leaves: what is in it, how it is written, how it is read back.

    recipe.yaml             the resolved recipe: every field, nothing implied
    environment.json        versions, hardware, git commit, command, what was measured and chosen at start
    data.json               class names, layout, counts, fingerprint, normalisation, files left out; of
                            pretraining, what the features were worth before the first step
    samples.csv             row, split ("train" | "validation" | "test"), path, target, class, group
    status.json             state ("running" | "finished" | "interrupted" | "failed"), epochs and steps done, cost
    steps.csv               one row an optimiser step
    epochs.csv              one row an epoch
    checkpoints/last.pt     everything that an exact resume needs (read with weights_only=True)
    checkpoints/last.safetensors, best.safetensors    the scored weights of the last and of the chosen epoch
    predictions/correct.u8  one byte an image and scored epoch: 1 where the validation image was right; (epochs, N)
                            row-major
    predictions/classes.u1  the class that is predicted for each image at each scored epoch, laid out as correct.u8; of
                            more than 256 classes classes.u2, little-endian, of more than 65,536 classes.u4
    predictions/validation.npz   chosen epoch: probabilities (N, C) float32, target (N,) int64, epoch ()
    predictions/validation.csv   the same for people: path, class, prediction, confidence, correct
    predictions/test.npz    the same of the test part, where the data have one: scored once, when the run has finished;
                            and rows (n,) int64, which of its images (one that cannot be read is left out)
    predictions/test.csv    the same for people
    snapshots/epoch_NNNN.npz     features (n, D) float32, rows (n,) int64 into the validation images, probabilities
    tensorboard/            TensorBoard events
    report.html             the report

Validation arrays are in the order of the validation rows of samples.csv.

A segmentation run has these in place of the files of the same name, or of correct.u8 and classes.u1:

    data.json               beside the class names "colours", [r, g, b] of each, and "ignored", what is not scored
    samples.csv             row, split, path, mask, group
    predictions/counts.u4   (epochs, N, C, 3) uint32 row-major: true positive, false positive and false negative pixels
                            of each image and class at each scored epoch
    predictions/validation.npz   chosen epoch: confusion (N, C, C) int64, pixels by [truth, prediction]; boundary
                            (N, C, 4) int64: predicted boundary pixels, of these matched, true ones, of these matched;
                            epoch ()
    predictions/validation.csv   path, miou, pixel_accuracy of each image
    snapshots/epoch_NNNN.npz     masks (n, H, W) uint8, what is predicted at the size of the image's own mask, 255
                            beyond it; sizes (n, 2) int64; rows (n,) int64 into the validation images

Ignored pixels, 255 in a mask, are in no count.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from snellen.errors import UserError
from snellen.files import as_path

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from snellen.data.in_memory import Images
    from snellen.engine.precision import Mode
    from snellen.models.classifier import Classifier
    from snellen.models.segmenters.segmenter import Segmenter
    from snellen.recipe.schema import AnyRecipe
    from snellen.tasks.classification.recipe import Recipe
    from snellen.tasks.segmentation.recipe import SegmentationRecipe


# What each file needs to hold, so that one which is damaged is named and not stumbled over later.
_ENVIRONMENT = (
    *("snellen", "packages", "cpu", "threads", "gpu", "device", "precision", "channels_last", "compiled"),
    *("parameters", "trainable_parameters", "macs", "weights"),
)
_DATA = (
    *("source", "root", "layout", "classes", "counts", "split", "fingerprint"),
    *("normalization", "notes", "left_out"),
)
_STATUS = (
    *("state", "epochs_done", "epochs", "seconds_training", "seconds_evaluating", "images_per_second"),
    *("peak_memory_mib", "chosen_epoch", "top1"),
)
_SAMPLES = {"segmentation": ("row", "split", "path", "mask", "group")}  # and of all others
_LABELLED = ("row", "split", "path", "target", "class", "group")
_EPOCHS = {
    "classification": ("train_loss", "train_top1", "validation_loss", "validation_top1"),
    "segmentation": ("train_loss", "train_pixel_accuracy", "validation_loss", "validation_miou"),
    "pretraining": (
        "train_loss",
        "train_projection_deviation",
        "knn_top1",
        "probe_top1",
        "effective_rank",
        "feature_deviation",
    ),
}


@dataclass(frozen=True)
class ImagePredictions:
    """What the scored weights say of the validation or the test images, in the order of samples.csv.

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


@dataclass(frozen=True)
class MaskPredictions:
    """How the chosen network's masks compare with the true ones, ignored pixels left out.

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


@dataclass(frozen=True, repr=False)
class Run:
    """A run directory, opened for reading. Nothing is read before it is asked for."""

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", as_path(self.path, "run"))
        if not (self.path / "recipe.yaml").is_file():
            study = (self.path / "study.yaml").is_file()
            what = "the study.json of this study is missing" if study else "it holds no recipe.yaml"
            raise UserError(f"{self.path}: not a run directory ({what}).")

    def __repr__(self) -> str:
        try:
            status = self.status
            figures = {"top-1": status["top1"], "mIoU": status["miou"]}
            scores = "".join(f", {name} {value:.2%}" for name, value in figures.items() if value is not None)
            state = f"{status['state']}, epoch {status['epochs_done']} of {status['epochs']}{scores}"
        except (UserError, LookupError, TypeError):
            state = "status.json is damaged or missing"
        return f"Run({str(self.path)!r}): {state}"

    @property
    def name(self) -> str:
        """The directory's name."""
        return self.path.resolve().name

    @cached_property
    def recipe(self) -> AnyRecipe:
        """The resolved recipe."""
        from snellen.recipe.load import read_resolved

        return read_resolved(self.path / "recipe.yaml")

    @property
    def classification(self) -> Recipe:
        """The resolved recipe of a classification run. Raises UserError for a run of another kind."""
        from snellen.tasks.classification.recipe import Recipe

        recipe = self.recipe
        if isinstance(recipe, Recipe):
            return recipe
        if recipe.task == "segmentation":
            raise UserError(f"{self.path}: a segmentation run; it says of pixels, not of images, what they are.")
        raise UserError(
            f"{self.path}: a {recipe.task} run has a backbone and no classes. To train a classifier on it: "
            f"snellen train RECIPE DATA model.weights={self.path} model.backbone={recipe.model.backbone}"
        )

    @property
    def segmentation(self) -> SegmentationRecipe:
        """The resolved recipe of a segmentation run. Raises UserError for a run of another kind."""
        from snellen.tasks.segmentation.recipe import SegmentationRecipe

        if isinstance(self.recipe, SegmentationRecipe):
            return self.recipe
        raise UserError(f"{self.path}: a {self.recipe.task} run; it predicts no masks.")

    @cached_property
    def environment(self) -> dict[str, Any]:
        """Versions, hardware, command, precision, parameters and MACs."""
        return self._json("environment.json", _ENVIRONMENT)

    @property
    def mode(self) -> Mode:
        """Precision, memory layout and the like that the run trains with."""
        from snellen.engine.precision import Mode

        facts = self.environment
        unfolded = facts.get("unfolded", False)
        return Mode(facts["precision"], facts["channels_last"], facts["compiled"], unfolded)

    @property
    def switches(self) -> list[str]:
        """Sentences on when the run went on in another precision, since its loss was no number."""
        return [
            f"{entry['reason']}, in {entry['before']}; it went on in {entry['after']} from step {entry['step']}"
            for entry in self.environment.get("switches", [])
        ]

    @cached_property
    def data(self) -> dict[str, Any]:
        """Class names, counts, fingerprint, normalisation."""
        return self._json("data.json", _DATA)

    @property
    def status(self) -> dict[str, Any]:
        """State, epochs and steps done, seconds trained, peak memory; read anew at each call."""
        return self._json("status.json", _STATUS)

    @property
    def classes(self) -> list[str]:
        """Class names; the index is the class's number."""
        return list(self.data["classes"])

    def samples(self) -> pd.DataFrame:
        """samples.csv: one row an image."""
        dtype = {"path": str, "mask": str, "class": str, "group": str}
        counts = self.data["counts"]
        with self._reading("samples.csv"):
            samples = self._csv("samples.csv", dtype=dtype)
            _require(_SAMPLES.get(self.recipe.task, _LABELLED), samples.columns)
            for split, count in counts.items():
                rows = int((samples["split"] == split).sum())
                if rows != count:
                    raise ValueError(f"{rows} rows of the split {split}, where {count} images were used")
        return samples

    def metrics(self) -> pd.DataFrame:
        """epochs.csv: one row an epoch."""
        return self._numbers("epochs.csv", "epoch", *_EPOCHS[self.recipe.task], "seconds", "images_per_second")

    def steps(self) -> pd.DataFrame:
        """steps.csv: one row an optimiser step."""
        return self._numbers("steps.csv", "step", "seconds")

    def predictions(self) -> pd.DataFrame:
        """Per-image validation predictions of the chosen epoch."""
        return self._csv("predictions/validation.csv", dtype={"path": str, "class": str, "prediction": str})

    @property
    def has_test(self) -> bool:
        """Whether a test part was scored when the run had finished."""
        return (self.path / "predictions" / "test.npz").is_file()

    def validation(self) -> ImagePredictions:
        """Probabilities and targets of the validation images at the chosen epoch."""
        return self._image_predictions("validation")

    def test(self) -> ImagePredictions:
        """The same of the test part. Raises UserError where there is none."""
        return self._image_predictions("test")

    def _image_predictions(self, part: str) -> ImagePredictions:
        with self._arrays(f"predictions/{part}.npz") as arrays:
            rows = arrays.get("rows", np.arange(len(arrays["target"])))
            return ImagePredictions(arrays["probabilities"], arrays["target"], int(arrays["epoch"]), rows)

    def correct_by_epoch(self) -> NDArray[np.bool_]:
        """(epochs, N) bool: which validation images were right after each epoch."""
        images = int(self.data["counts"]["validation"])
        with self._reading("predictions/correct.u8") as file:
            return np.fromfile(file, dtype=np.uint8).reshape(-1, images).astype(bool)

    def classes_by_epoch(self) -> NDArray[np.unsignedinteger[Any]] | None:
        """(epochs, N) class that is predicted for each validation image after each scored epoch, in [0, C).

        None where that was not kept of every epoch: of runs that an older version began, and of pretraining.
        """
        name, dtype = predicted_classes(len(self.classes))
        if not (self.path / name).is_file():
            return None
        images = int(self.data["counts"]["validation"])
        with self._reading(name) as file:
            classes = np.fromfile(file, dtype=dtype).reshape(-1, images)
        return classes if len(classes) == len(self.correct_by_epoch()) else None

    def snapshots(self) -> list[Snapshot]:
        """All snapshots of features, by epoch."""
        found = []
        for epoch, name in self._snapshots():
            with self._arrays(name) as arrays:
                found.append(Snapshot(arrays["features"], arrays["rows"], arrays["probabilities"], epoch))
        return found

    def mask_validation(self) -> MaskPredictions:
        """Of a segmentation run: what was counted on the validation images at the chosen epoch."""
        return self._mask_predictions("validation")

    def mask_test(self) -> MaskPredictions:
        """The same of the test part. Raises UserError where there is none."""
        return self._mask_predictions("test")

    def _mask_predictions(self, part: str) -> MaskPredictions:
        with self._arrays(f"predictions/{part}.npz") as arrays:
            rows = arrays.get("rows", np.arange(len(arrays["confusion"])))
            return MaskPredictions(arrays["confusion"], arrays["boundary"], int(arrays["epoch"]), rows)

    def counts_by_epoch(self) -> NDArray[np.uint32]:
        """Of a segmentation run: (scored epochs, N, C, 3) true positive, false positive and false negative pixels.

        Mapped from the file, which may be large: what is not looked at takes no memory.
        """
        images = int(self.data["counts"]["validation"])
        with self._reading("predictions/counts.u4") as file:
            if not file.stat().st_size:
                return np.zeros((0, images, len(self.classes), 3), "<u4")
            return np.memmap(file, dtype="<u4", mode="r").reshape(-1, images, len(self.classes), 3)

    def mask_snapshots(self) -> list[MaskSnapshot]:
        """All snapshots of masks, by epoch."""
        found = []
        for epoch, name in self._snapshots():
            with self._arrays(name) as arrays:
                found.append(MaskSnapshot(arrays["masks"], arrays["sizes"], arrays["rows"], epoch))
        return found

    def image(self, sample_path: str) -> Path:
        """Where an image of samples.csv lies: absolute, or below the data's root. It may be gone by now."""
        return Path(self.data["root"]) / sample_path

    def model(self, which: str = "best") -> Classifier | Segmenter:
        """The trained network, on the CPU, in evaluation mode. which: "best" (the chosen epoch) or "last"."""
        from snellen.models.classifier import load_trained
        from snellen.models.segmenters.build import load_trained_segmenter

        return load_trained_segmenter(self, which) if self.recipe.task == "segmentation" else load_trained(self, which)

    def predict(self, images: Images, *, quiet: bool = False) -> pd.DataFrame:
        """What the chosen epoch's network says of images: a row an image, in the order given. Writes no file.

        images: a path, a folder (searched at any depth), a glob, a PIL image, a numpy array, (H, W, 3) RGB, (H, W) grey
        or (H, W, 4) RGBA in uint8, or (H, W) or (H, W, 3) in uint16 (read by the recipe's data.bits), an array
        (N, H, W, C) of several, or a list of any of these.
        Columns: image (the path, or the position among the images given), class, probability, probability_NAME of each
        class, error ("", or why an image cannot be read; the others are NaN then). Of a segmentation run: image, mask
        ((H, W) uint8, the index of each pixel's class, 255 where a GeoTIFF has no data; None where it cannot be read),
        error; all masks are in memory at once, where `snellen.predict` writes them one by one. The numbers are those of
        `snellen.predict`. quiet: print nothing. Raises UserError for what is no image.
        """
        from rich.console import Console

        from snellen.commands.predict import predicted_frame

        return predicted_frame(self, images, Console(stderr=True, quiet=quiet))

    def report(self) -> Path:
        """Writes report.html (anew) and returns its path."""
        from snellen.reporting.build import build_report

        return build_report([self], self.path / "report.html")

    def _snapshots(self) -> list[tuple[int, str]]:
        names = [file.name for file in self.path.glob("snapshots/epoch_[0-9]*.npz")]
        return sorted((int(name[len("epoch_") : -len(".npz")]), f"snapshots/{name}") for name in names)

    @contextmanager
    def _arrays(self, name: str) -> Iterator[Mapping[str, NDArray[Any]]]:
        with self._reading(name) as file, np.load(file, allow_pickle=False) as arrays:
            yield arrays

    @contextmanager
    def _reading(self, name: str) -> Iterator[Path]:
        """The file's path. Whatever fails while it is read is said of the file. Raises UserError."""
        file = self._file(name)
        try:
            yield file
        except (KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(f"{file}: damaged, or not written by snellen ({why}). Train the run again.") from error

    def _file(self, name: str) -> Path:
        path = self.path / name
        if not path.is_file():
            state = self.status.get("state") if (self.path / "status.json").is_file() else "not started"
            if state == "finished":
                raise UserError(f"{path}: missing, though the run is finished. Train the run again.")
            raise UserError(f"{path}: missing; the run is {state}. Resume it with: snellen train --resume {self.path}")
        return path

    def _json(self, name: str, required: Sequence[str]) -> dict[str, Any]:
        with self._reading(name) as file:
            value: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            _require(required, value if isinstance(value, dict) else ())
            return value

    def _numbers(self, name: str, *required: str) -> pd.DataFrame:
        """A table of numbers, empty cells among them, with the columns that it needs to have."""
        import pandas as pd

        with self._reading(name):
            table = self._csv(name)
            _require(required, table.columns)
            for column in table.columns:
                pd.to_numeric(table[column])
        return table

    def _csv(self, name: str, dtype: Mapping[str, type] | None = None) -> pd.DataFrame:
        import pandas as pd

        with self._reading(name) as file:
            return pd.read_csv(file, dtype=dtype, keep_default_na=dtype is None)


def _require(names: Sequence[str], there: Container[str]) -> None:
    """Raises ValueError for a name that is not there."""
    missing = [name for name in names if name not in there]
    if missing:
        raise ValueError(f"'{missing[0]}' is missing")


def predicted_classes(classes: int) -> tuple[str, str]:
    """Name and dtype of the file that holds the predicted class of each image and epoch, for so many classes."""
    size = 1 if classes <= 1 << 8 else 2 if classes <= 1 << 16 else 4
    return f"predictions/classes.u{size}", f"<u{size}"


def load(run: str | Path | Run) -> Run:
    """Opens a run directory; a run that is open is returned as it is. Raises UserError when the folder holds no run."""
    return run if isinstance(run, Run) else Run(as_path(run, "run"))
