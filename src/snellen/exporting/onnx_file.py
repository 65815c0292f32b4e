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
from snellen.exporting.wire import NotExportedError, properties_of
from snellen.words import first_line

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

SUFFIX = ".onnx"
INPUT, SIZE = "images", "size"
LARGEST = 2**31  # bytes of a protobuf file


def is_onnx_file(path: object) -> bool:
    """Whether a path names an ONNX file, by its suffix."""
    return isinstance(path, str | os.PathLike) and Path(path).suffix == SUFFIX


@dataclass(frozen=True)
class OnnxFile:
    """An exported network with its preprocessing. Raises UserError for a file that is none, naming what is missing.

    Its metadata are read at once, its graph by `session`.
    """

    path: Path

    def __post_init__(self) -> None:
        require("onnxruntime", what=f"{self.path}: reading an ONNX file")
        _ = self.metadata

    @cached_property
    def metadata(self) -> Metadata:
        """What the file says about itself."""
        return Metadata.read(self.path, self._checked[1])

    @cached_property
    def _checked(self) -> tuple[bytes, dict[str, str]]:
        """The content, which leads to no other file, and its metadata."""
        if not self.path.is_file():
            raise UserError(f"{self.path}: no such file.")
        try:
            if (size := self.path.stat().st_size) >= LARGEST:
                raise UserError(f"{self.path}: {size / 2**30:.1f} GiB; an ONNX file in one part is less than 2 GiB.")
            content = self.path.read_bytes()
            return content, properties_of(content)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be read ({error.strerror}).") from error
        except NotExportedError as error:
            raise UserError(
                f"{self.path}: not an ONNX file of `snellen export`: {error}. Export the run again."
            ) from error

    @cached_property
    def _sessions(self) -> dict[int, InferenceSession]:
        return {}

    def session(self, threads: int = 1) -> InferenceSession:
        """The session that uses so many threads for each call, opened when it is first needed.

        Raises UserError if onnxruntime cannot run the graph, or if it is not that of the metadata.
        """
        if threads not in self._sessions:
            self._sessions[threads] = self._opened(threads)
        return self._sessions[threads]

    def _opened(self, threads: int) -> InferenceSession:
        try:
            session = open_session(self._checked[0], threads)
        except Exception as error:  # onnxruntime has an exception type for each of its failures
            raise UserError(f"{self.path}: not an ONNX file that onnxruntime can run ({first_line(error)}).") from error
        del self.__dict__["_checked"]  # the session has its own copy
        inputs, outputs = [value.name for value in session.get_inputs()], session.get_outputs()
        shape = list(outputs[0].shape or []) if outputs else []
        classes = len(self.metadata.classes)
        if inputs != [INPUT] or len(shape) < 2 or shape[1] != classes:
            raise UserError(
                f"{self.path}: its graph is not that of its metadata: its input is {', '.join(inputs)} and its output "
                f"{shape}; expected {INPUT} and an output with {classes} classes. Export the run again."
            )
        return session

    def run(
        self, images: NDArray[np.uint8], size: tuple[int, int] | None = None, threads: int = 1
    ) -> NDArray[np.float32]:
        """The first output for images (N, H, W, 3) uint8. May be called from several threads at once.

        size: the optional input of that name. threads: of the session. Raises UserError if onnxruntime fails or the
        result cannot be one, as with a file that was changed.
        """
        session = self.session(threads)
        try:
            result = run_session(session, images, size)
        except Exception as error:  # as above
            raise UserError(f"{self.path}: onnxruntime cannot run it ({first_line(error)}).") from error
        expected = (len(images), len(self.metadata.classes))
        whole = isinstance(result, np.ndarray) and result.dtype == np.float32 and result.shape[:2] == expected
        if not whole or result.shape[2:] not in ((), images.shape[1:3]) or not np.isfinite(result).all():
            raise UserError(
                f"{self.path}: damaged: its graph does not give {expected[1]} finite numbers for each image or pixel. "
                "Export the run again."
            )
        return result


def open_session(model: bytes, threads: int = 1) -> InferenceSession:
    """An onnxruntime session on the CPU. threads: of each call; calls from several threads run side by side."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # failures are raised; printing them too would say everything twice
    # Its fallback prints what it fails with, and tries the same again.
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"], enable_fallback=0)


def run_session(
    session: InferenceSession, images: NDArray[np.uint8], size: tuple[int, int] | None = None
) -> NDArray[np.float32]:
    """The first output of a session for images (N, H, W, 3) uint8. size: its optional input of that name."""
    more = {} if size is None else {SIZE: np.array(size)}
    result: NDArray[np.float32] = session.run(None, {INPUT: images, **more})[0]
    return result
