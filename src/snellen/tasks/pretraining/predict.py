"""A backbone alone cannot classify images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from snellen.data.in_memory import ImageInMemory
from snellen.run.directory import RunDirectory
from snellen.tasks.kind import Options
from snellen.tasks.pretraining.record import no_classes


def predict(
    run: RunDirectory, images: Sequence[Path | ImageInMemory], out: Path | None, options: Options, console: Console
) -> NoReturn:
    """Raises UserError, with the command that trains a classifier on the backbone."""
    raise no_classes(run)


def predicted_rows(run: RunDirectory, images: Sequence[Path | ImageInMemory], console: Console) -> NoReturn:
    """Raises UserError, with the command that trains a classifier on the backbone."""
    raise no_classes(run)
