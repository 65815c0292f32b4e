"""A run in Python: its files, recipe, network, predictions and report."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snellen.data.shards.sources import inside_shards
from snellen.engine.recipe import CommonRecipe
from snellen.errors import UserError
from snellen.exporting.onnx_file import OnnxFile, is_onnx_file
from snellen.files import as_path
from snellen.recipe.load import resolved_fields
from snellen.run.directory import RunDirectory
from snellen.tasks.kinds import AnyKind, kind_named, validated

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray
    from torch import nn

    from snellen.data.in_memory import Images
    from snellen.engine.mode import Mode


@dataclass(frozen=True, repr=False)
class Run(RunDirectory):
    """A run directory, opened for reading. Files are read when they are needed."""

    def __repr__(self) -> str:
        try:
            status = self.status
            score = "" if status.score is None else f", {status.measure} {status.score:.2%}"
            state = f"{status.state}, epoch {status.epochs_done} of {status.epochs}{score}"
        except UserError:
            state = "status.json is damaged or missing"
        return f"Run({str(self.path)!r}): {state}"

    @cached_property
    def _recipe_fields(self) -> tuple[dict[str, Any], str]:
        return resolved_fields(self.path / "recipe.yaml")

    @cached_property
    def kind(self) -> AnyKind:
        """Its task; see tasks.kind.Kind."""
        return kind_named(*self._recipe_fields)

    @cached_property
    def recipe(self) -> CommonRecipe:
        """The resolved recipe."""
        return validated(*self._recipe_fields)

    @property
    def mode(self) -> Mode:
        """Precision, memory layout and other settings of the arithmetic that the run trains with."""
        from snellen.engine.mode import Mode

        return Mode.recorded(self.environment)

    def samples(self) -> pd.DataFrame:
        """samples.csv: one row per image."""
        return self._samples(*self.kind.record.SAMPLE_COLUMNS)

    def image(self, sample_path: str) -> Path:
        """As in RunDirectory; in the shards that the run was trained on, if it was."""
        return inside_shards(Path(sample_path)) if os.path.isabs(sample_path) else self._root / sample_path

    @cached_property
    def _root(self) -> Path:
        root = Path(self.data["root"])
        try:
            return inside_shards(root)
        except UserError:  # shards that are no longer complete
            return root

    def require_finished(self, done: str) -> None:
        """Raises UserError, with the command that resumes it, unless the run is finished. done: what was asked for."""
        status = self.status
        if not status.finished:
            raise UserError(
                f"{self.path}: the run is {status.state} after {status.epochs_done} of {status.epochs} epochs; only a "
                f"finished run is {done}. Resume it with: snellen {self.kind.command} --resume {self.path}"
            )

    def metrics(self) -> pd.DataFrame:
        """epochs.csv: one row per epoch."""
        return self._metrics(*self.kind.record.EPOCH_COLUMNS)

    def validation(self) -> Any:
        """The predictions of the chosen epoch for the validation images: ImagePredictions or MaskPredictions."""
        return self.kind.record.read_predictions(self, "validation")

    def test(self) -> Any:
        """The same for the test part. Raises UserError if there is none."""
        return self.kind.record.read_predictions(self, "test")

    def by_epoch(self) -> NDArray[Any]:
        """(epochs, N) bool: which validation images were classified correctly after each scored epoch.

        For a segmentation run (epochs, N, C, 3) uint32: true positive, false positive and false negative pixels.
        """
        return self.kind.record.by_epoch(self)

    def snapshots(self) -> list[Any]:
        """The snapshots of a few validation images, a Snapshot or MaskSnapshot for each epoch that has one."""
        return list(self.kind.record.read_snapshots(self))

    def model(self, which: str = "best") -> nn.Module:
        """The trained network, on the CPU, in evaluation mode. which: "best" (the chosen epoch) or "last"."""
        return self.kind.record.load_model(self, which)

    def predict(self, images: Images, *, quiet: bool = False) -> pd.DataFrame:
        """Predicts images with the network of the chosen epoch. Writes no file.

        Parameters:
            images: a path, a folder (searched at any depth), a glob, a PIL image, a numpy array: (H, W, 3) RGB, (H, W)
                grey or (H, W, 4) RGBA in uint8, or (H, W) or (H, W, 3) in uint16 (read by the recipe's data.bits),
                an array (N, H, W, C) of several, or a list of any of these.
            quiet: print nothing.

        Returns one row per image, in the given order, with the same numbers as `snellen.predict`. Columns: image (the
        path, or the position in the list), class, probability, probability_NAME for each class, error ("", or why an
        image cannot be read; the others are then NaN). For a segmentation run: image, mask ((H, W) uint8, the class
        index of each pixel, 255 where a GeoTIFF has no data; None if the image cannot be read), error. All masks are in
        memory at once, while `snellen.predict` writes them one by one.
        Raises UserError for anything that is not an image.
        """
        import pandas as pd
        from rich.console import Console

        from snellen.data.in_memory import given_images

        inputs = given_images(images)
        console = Console(stderr=True, quiet=quiet)
        columns, rows = self.kind.predict.predicted_rows(self, list(dict.fromkeys(inputs)), console)
        return pd.DataFrame([rows[image] for image in inputs if image in rows], columns=columns)

    def report(self) -> Path:
        """Writes report.html, replacing an existing one, and returns its path."""
        return self.kind.report.page([self]).write(self.path / "report.html")


def load(run: str | Path | Run) -> Run:
    """Opens a run directory for reading.

    Parameters:
        run: the folder of a run. A run that is open already is returned unchanged.

    Returns the run. Files are read when they are needed, not before.
    Raises UserError if the folder holds no run.

    >>> run = snellen.load("runs/digits")
    >>> run.classes
    ['0', '1', '2']
    >>> type(run.model())  # the trained network, a torch.nn.Module
    <class 'snellen.models.classifier.Classifier'>
    """
    if isinstance(run, Run):
        return run
    path = as_path(run, "run")
    if path.suffix == ".pt2" and path.is_file():
        raise UserError(
            f"{path}: a program of torch.export, which snellen does not open, since loading one can run any code. For "
            "this, export the run as ONNX: snellen export RUN"
        )
    return Run(path)


def exported_file(run: str | Path | Run) -> OnnxFile | None:
    """The ONNX file that a caller names in place of a run; None for anything else. Raises UserError as OnnxFile."""
    return OnnxFile(Path(run)) if not isinstance(run, Run) and is_onnx_file(run) and not Path(run).is_dir() else None


def kind_of_file(file: OnnxFile) -> AnyKind:
    """The kind of the run that a file was exported from."""
    return kind_named({"task": file.metadata.task}, f"metadata of {file.path}")
