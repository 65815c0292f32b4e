"""An exported ONNX file, opened with onnxruntime; torch is not needed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from snellen.errors import UserError
from snellen.exporting.extras import require
from snellen.exporting.metadata import Metadata
from snellen.words import first_line

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

SUFFIX = ".onnx"
INPUT, SIZE = "images", "size"


def is_onnx_file(path: object) -> bool:
    """Whether a path names an ONNX file, by its suffix."""
    return isinstance(path, str | os.PathLike) and Path(path).suffix == SUFFIX


@dataclass(frozen=True)
class OnnxFile:
    """An exported network with its preprocessing. Raises UserError for a file that is none, naming what is missing."""

    path: Path

    def __post_init__(self) -> None:
        require("onnxruntime", what=f"{self.path}: reading an ONNX file")
        if not self.path.is_file():
            raise UserError(f"{self.path}: no such file.")
        _ = self.metadata
        inputs, shape = [value.name for value in self._session.get_inputs()], self._session.get_outputs()[0].shape
        classes = len(self.metadata.classes)
        if inputs != [INPUT] or len(shape) < 2 or shape[1] != classes:
            raise UserError(
                f"{self.path}: its graph is not that of its metadata: its input is {', '.join(inputs)} and its output "
                f"{shape}; expected {INPUT} and an output with {classes} classes. Export the run again."
            )

    @cached_property
    def _session(self) -> InferenceSession:
        try:
            return open_session(self.path.read_bytes())
        except Exception as error:  # onnxruntime has an exception type for each of its failures
            raise UserError(f"{self.path}: not an ONNX file that onnxruntime can run ({first_line(error)}).") from error

    @cached_property
    def metadata(self) -> Metadata:
        """What the file says about itself."""
        return Metadata.read(self.path, self._session.get_modelmeta().custom_metadata_map)

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The first output for images (N, H, W, 3) uint8. May be called from several threads at once."""
        return run_session(self._session, images)

    def session(self, threads: int) -> InferenceSession:
        """A session that uses so many threads for each call."""
        return open_session(self.path.read_bytes(), threads)


def open_session(model: bytes, threads: int = 1) -> InferenceSession:
    """An onnxruntime session on the CPU. threads: of each call; calls from several threads run side by side."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # failures are raised; printing them too would say everything twice
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run_session(
    session: InferenceSession, images: NDArray[np.uint8], size: tuple[int, int] | None = None
) -> NDArray[np.float32]:
    """The first output of a session for images (N, H, W, 3) uint8. size: its optional input of that name."""
    more = {} if size is None else {SIZE: np.array(size)}
    result: NDArray[np.float32] = session.run(None, {INPUT: images, **more})[0]
    return result
