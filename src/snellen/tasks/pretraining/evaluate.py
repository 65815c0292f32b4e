"""Pretraining scores its features during the run; a backbone alone cannot be scored on other images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import pandas as pd
from numpy.typing import NDArray
from rich.console import Console

from snellen.data.listing import Source
from snellen.run.directory import RunDirectory
from snellen.tasks.pretraining.record import no_classes


def evaluate(run: RunDirectory, data: Source, overrides: Mapping[str, Any] | None, console: Console) -> NoReturn:
    """Raises UserError, with the command that trains a classifier on the backbone."""
    raise no_classes(run)


def score_test(
    run: RunDirectory, samples: pd.DataFrame, console: Console
) -> tuple[dict[str, NDArray[Any]], Sequence[str]]:
    """Raises UserError: pretraining data have no test part."""
    raise no_classes(run)
