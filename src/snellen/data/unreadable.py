"""The error for unreadable image files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from snellen.errors import UserError
from snellen.words import shortened


class UnreadableImageError(UserError):
    """A file that is not an image, or a damaged one. reason: what is wrong with it, in words. line: with the path."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        self.line = f"{path}: {reason}"
        super().__init__(f"{self.line}. To leave such files out and list them: data.unreadable=skip")


def unreadable_files(errors: Sequence[UnreadableImageError], what: str) -> UserError:
    """The error that lists them. what: "files" or "pairs"."""
    remedy = f"To leave such {what} out and list them: data.unreadable=skip"
    return UserError("\n".join([*shortened([error.line for error in errors], 10), remedy]))
