"""Checks of the data that callers pass from Python."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from snellen.data.table import FRAME
from snellen.errors import UserError
from snellen.words import kind_of

if TYPE_CHECKING:
    import pandas as pd

    from snellen.data.listing import Source

_PATHS = "a folder, a table, shards or torchvision:NAME"


def is_frame(data: object) -> TypeGuard[pd.DataFrame]:
    """Whether data are a pandas DataFrame."""
    import pandas as pd

    return isinstance(data, pd.DataFrame)


def check_source(data: Any) -> Source:
    """The source of labelled images, unchanged. Raises UserError for anything but a path or a DataFrame."""
    return data if is_frame(data) else _path(data, f"{_PATHS}, or a DataFrame of paths and classes")


def check_path(data: Any) -> str | Path:
    """The path for a command that takes no DataFrame. Raises UserError for anything but a path."""
    if is_frame(data):
        raise UserError(
            "data: a DataFrame is not accepted here. Write it to a file, frame.to_csv('images.csv', index=False), and "
            "pass that."
        )
    return _path(data, _PATHS)


def name_of(data: Source) -> str:
    """The name of the data in messages."""
    return FRAME if is_frame(data) else str(data)


def _path(data: Any, expected: str) -> str | Path:
    if not isinstance(data, str | os.PathLike):
        raise UserError(f"data: expected {expected}, got {kind_of(data)}.")
    return data if isinstance(data, str) else Path(data)
