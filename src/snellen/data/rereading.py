"""Files that a run reads more than once: one that has changed in between is reported instead of trained on."""

from __future__ import annotations

from array import array
from pathlib import Path

from snellen.errors import UserError


class Rereading:
    """Files by row, each in the state in which it was read first: eight bytes per file."""

    def __init__(self) -> None:
        self._paths: list[Path] = []
        self._states = array("q")

    def add(self, path: Path, state: int) -> None:
        """The next row. state: from `state_of`, before the file was read."""
        self._paths.append(path)
        self._states.append(state)

    def path(self, row: int) -> Path:
        """The path of a row, to be read again. Raises UserError if the file has changed."""
        path = self._paths[row]
        if state_of(path) not in {self._states[row], 0}:
            raise UserError(f"{path}: has changed since this run began. Restore the original file.")
        return path


def state_of(path: Path) -> int:
    """A number for the size and the time of change of a file; 0 if it is not there, which reading it reports."""
    try:
        state = path.stat()
    except OSError:
        return 0
    return hash((state.st_size, state.st_mtime))
