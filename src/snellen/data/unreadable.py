"""The error for unreadable image files."""

from __future__ import annotations

from pathlib import Path

from snellen.errors import UserError


class UnreadableImageError(UserError):
    """A file that is not an image, or a damaged one. reason: what is wrong with it, in words."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path}: {reason}. To leave such files out and list them: data.unreadable=skip")
