"""The directory of a run: its files, and how they are read.

recipe.yaml             the resolved recipe, with every field
environment.json        versions, hardware, git commit, command, the mode and its timings: see environment.py
data.json               class names, layout, counts, fingerprint, normalisation, files left out; leaked: rows of
                        each scored part that are copies of images of an earlier part; for pretraining, the
                        evaluation of the features before the first step
samples.csv             row, split ("train" | "validation" | "test"), path, group, and what the task adds
status.json             state, epochs and steps done, cost, score: see status.py
steps.csv               one row per optimiser step
epochs.csv              one row per epoch
checkpoints/last.pt     everything an exact resume needs (read with weights_only=True)
checkpoints/previous.pt the one before, while the run is not finished
checkpoints/last.safetensors, best.safetensors    the scored weights of the last and of the chosen epoch
diverged.pt             of a run that diverged: the step at which it did, see engine/capture.py
predictions/, snapshots/    results for scored images: see record.py of the task
tensorboard/            TensorBoard events
trackers/               where other trackers keep the run: see tracking/tracked.py
report.html             the report
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NotRequired, TypeVar

import numpy as np
from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from snellen.errors import FormatError, UserError
from snellen.files import as_path, from_json
from snellen.run.environment import Environment
from snellen.run.status import Status
from snellen.words import first_line

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

T = TypeVar("T")

_LARGEST_ARRAYS = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2  # bytes
FORMAT = 2  # of run directories; raised where an older one can no longer be read


class _Normalization(TypedDict):
    mean: Annotated[list[float], Field(min_length=3, max_length=3)]
    std: Annotated[list[float], Field(min_length=3, max_length=3)]
    source: str


@with_config(ConfigDict(extra="allow"))
class _Data(TypedDict):
    """What data.json of every task must hold; a task may add to it."""

    source: str
    root: str
    layout: str
    classes: list[str]
    counts: dict[str, Annotated[int, Field(ge=0)]]
    split: str
    fingerprint: str
    normalization: _Normalization
    notes: list[str]
    left_out: list[dict[str, Any]]
    leaked: NotRequired[dict[str, list[Annotated[int, Field(ge=0)]]]]


# Required columns of each file, so that a damaged file is named when it is read.
_SAMPLES = ("row", "split", "path", "group")
_EPOCHS = ("epoch", "train_loss", "seconds", "images_per_second")


@dataclass(frozen=True, repr=False)
class RunDirectory:
    """A run directory, opened for reading. Files are read on demand.

    It knows files and no task: files that only one task writes are read by the record.py of that task.
    """

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", as_path(self.path, "run"))
        if not (self.path / "recipe.yaml").is_file():
            study = (self.path / "study.yaml").is_file()
            what = "the study.json of this study is missing" if study else "it holds no recipe.yaml"
            raise UserError(f"{self.path}: not a run directory ({what}).")
        self._check_format()

    def _check_format(self) -> None:
        """Raises UserError for a run in another format; damaged files are named when they are read."""
        file = self.path / "environment.json"
        try:
            environment = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return
        written = environment.get("format", 1) if isinstance(environment, dict) else FORMAT
        if written != FORMAT:
            version = environment.get("snellen", "an earlier version")
            raise FormatError(
                f"{self.path}: a run in format {written}, but this version of snellen reads format {FORMAT}. "
                f"Train it again, or read it with the version that wrote it ({version})."
            )

    @property
    def name(self) -> str:
        """The directory's name."""
        return self.path.resolve().name

    @cached_property
    def environment(self) -> Environment:
        """Versions, hardware, command, precision, parameters and MACs."""
        return self._json("environment.json", Environment)

    @property
    def switches(self) -> list[str]:
        """Sentences on each switch to another precision after the loss was not finite."""
        return [
            f"{switch.reason}, in {switch.before}; it continued in {switch.after} from step {switch.step}"
            for switch in self.environment.switches
        ]

    @cached_property
    def data(self) -> dict[str, Any]:
        """Class names, counts, fingerprint, normalisation."""
        return dict(self._json("data.json", _Data))

    @property
    def status(self) -> Status:
        """State, epochs and steps done, seconds trained, peak memory; read again at each call."""
        return self._json("status.json", Status)

    @property
    def classes(self) -> list[str]:
        """Class names; the index is the class's number."""
        return list(self.data["classes"])

    def count(self, part: str) -> int:
        """How many images "train", "validation" or "test" has; 0 for a part that the data do not have."""
        return int(self.data["counts"].get(part, 0))

    def samples(self) -> pd.DataFrame:
        """samples.csv: one row per image."""
        return self._samples()

    def _samples(self, *required: str) -> pd.DataFrame:
        dtype = {"path": str, "mask": str, "class": str, "group": str}
        counts = self.data["counts"]
        with self.reading("samples.csv"):
            samples = self._csv("samples.csv", dtype=dtype)
            _require((*_SAMPLES, *required), samples.columns)
            for split, count in counts.items():
                rows = int((samples["split"] == split).sum())
                if rows != count:
                    raise ValueError(f"{rows} rows of the split {split}, but {count} images were used")
        return samples

    def part(self, name: str) -> pd.DataFrame:
        """The rows of samples.csv of "train", "validation" or "test", numbered from 0."""
        samples = self.samples()
        return samples[samples["split"] == name].reset_index(drop=True)

    def metrics(self) -> pd.DataFrame:
        """epochs.csv: one row per epoch."""
        return self._metrics()

    def _metrics(self, *required: str) -> pd.DataFrame:
        return self._numbers("epochs.csv", *_EPOCHS, *required)

    def steps(self) -> pd.DataFrame:
        """steps.csv: one row per optimiser step."""
        return self._numbers("steps.csv", "step", "seconds")

    def predictions(self) -> pd.DataFrame:
        """Per-image validation predictions of the chosen epoch."""
        return self._csv("predictions/validation.csv", dtype={"path": str, "class": str, "prediction": str})

    @property
    def has_test(self) -> bool:
        """Whether a test part was scored after training."""
        return (self.path / "predictions" / "test.npz").is_file()

    def image(self, sample_path: str) -> Path:
        """The path of an image of samples.csv: absolute, or relative to the data's root. It may no longer exist."""
        return Path(self.data["root"]) / sample_path

    def snapshot_files(self) -> list[tuple[int, str]]:
        """(epoch, name) of the snapshot files, by epoch."""
        epochs = {file.stem.removeprefix("epoch_"): file.name for file in self.path.glob("snapshots/epoch_*.npz")}
        return sorted((int(epoch), f"snapshots/{name}") for epoch, name in epochs.items() if epoch.isdecimal())

    @contextmanager
    def arrays(self, name: str) -> Iterator[Mapping[str, NDArray[Any]]]:
        """The arrays of an .npz file. Raises UserError as `reading`, also if they take half of the machine's memory."""
        with self.reading(name) as file:
            with zipfile.ZipFile(file) as members:
                size = sum(member.file_size for member in members.infolist())
            if size > _LARGEST_ARRAYS:
                raise ValueError(f"unpacked it has {size / 2**30:.1f} GiB")
            with np.load(file, allow_pickle=False) as arrays:
                yield arrays

    @contextmanager
    def reading(self, name: str) -> Iterator[Path]:
        """The path of a file of the run. Errors while it is read become a UserError that names the file."""
        file = self._file(name)
        try:
            yield file
        except UserError:
            raise
        except Exception as error:  # whatever a damaged or foreign file makes pandas, NumPy and zipfile raise
            reason = first_line(error)
            raise UserError(f"{file}: damaged, or not written by snellen ({reason}). Train the run again.") from error

    def _file(self, name: str) -> Path:
        path = self.path / name
        if not path.is_file():
            state = self.status.state if (self.path / "status.json").is_file() else "not started"
            if state == "finished":
                raise UserError(f"{path}: missing, though the run is finished. Train the run again.")
            raise UserError(f"{path}: missing; the run is {state}. Resume it with: snellen train --resume {self.path}")
        return path

    def _json(self, name: str, kind: type[T]) -> T:
        with self.reading(name) as file:
            return from_json(kind, file.read_text(encoding="utf-8"))

    def _numbers(self, name: str, *required: str) -> pd.DataFrame:
        """A table of numbers, possibly with empty cells. Checks that it has the required columns."""
        import pandas as pd

        with self.reading(name):
            table = self._csv(name)
            _require(required, table.columns)
            for column in table.columns:
                pd.to_numeric(table[column])
        return table

    def _csv(self, name: str, dtype: Mapping[str, type] | None = None) -> pd.DataFrame:
        import pandas as pd

        with self.reading(name) as file:
            return pd.read_csv(file, dtype=dtype, keep_default_na=dtype is None)


def array_of(
    arrays: Mapping[str, NDArray[Any]], name: str, shape: Sequence[int | None], kind: str, below: int | None = None
) -> NDArray[Any]:
    """An array of an .npz file.

    shape: None stands for any length. kind: NumPy's letter for a kind of numbers, such as "f". below: its values are
    whole numbers from 0 to less than this. Raises KeyError if there is none, ValueError if it is another array.
    """
    array = arrays[name]
    fits = len(array.shape) == len(shape) and all(
        expected in {None, length} for length, expected in zip(array.shape, shape, strict=True)
    )
    if not fits or array.dtype.kind not in kind:
        raise ValueError(f"'{name}' has the shape {array.shape} and type {array.dtype}")
    if below is not None and array.size and not 0 <= array.min() <= array.max() < below:
        raise ValueError(f"'{name}' has values outside 0 to {below - 1}")
    return array


def _require(names: Sequence[str], present: Container[str]) -> None:
    """Raises ValueError for a missing name."""
    missing = [name for name in names if name not in present]
    if missing:
        raise ValueError(f"'{missing[0]}' is missing")
