"""A backbone alone has no classes to answer with."""

from __future__ import annotations

from typing import NoReturn

from snellen.exporting.onnx_file import OnnxFile
from snellen.run.directory import RunDirectory
from snellen.tasks.pretraining.export import no_file
from snellen.tasks.pretraining.record import no_classes


def serve_run(run: RunDirectory) -> NoReturn:
    """Raises UserError, with the command that trains a classifier on the backbone."""
    raise no_classes(run)


def serve_file(file: OnnxFile) -> NoReturn:
    """Raises UserError: there are no such files."""
    raise no_file(file)
