"""A backbone alone has no classes to export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console

from snellen.data.in_memory import ImageInMemory
from snellen.data.listing import Source
from snellen.errors import UserError
from snellen.exporting.onnx_file import OnnxFile
from snellen.run.directory import RunDirectory
from snellen.tasks.kind import ExportOptions, Options
from snellen.tasks.pretraining.record import no_classes


def export(run: RunDirectory, out: Path, options: ExportOptions, console: Console) -> NoReturn:
    """Raises UserError, with the command that trains a classifier on the backbone."""
    raise no_classes(run)


def predict_file(
    file: OnnxFile, images: Sequence[Path | ImageInMemory], out: Path | None, options: Options, console: Console
) -> NoReturn:
    """Raises UserError: there are no such files."""
    raise no_file(file)


def evaluate_file(file: OnnxFile, data: Source, overrides: Mapping[str, Any] | None, console: Console) -> NoReturn:
    """Raises UserError: there are no such files."""
    raise no_file(file)


def no_file(file: OnnxFile) -> UserError:
    """The error for a file whose metadata names this task."""
    return UserError(f"{file.path}: its metadata names the task {file.metadata.task}, which has no classes to predict.")
