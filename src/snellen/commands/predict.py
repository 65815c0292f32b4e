"""Classes of unlabelled images, as a table, or their masks, as files: whatever the run has learnt."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from snellen.data.in_memory import given_images
from snellen.errors import UserError
from snellen.files import as_path
from snellen.runs import Run, load
from snellen.tasks.kind import Options, Predicted
from snellen.words import counted

if TYPE_CHECKING:
    from snellen.data.in_memory import Images

_FEW = 10  # images whose classes are printed too


def predict(
    run: str | Path | Run,
    images: Images,
    out: str | Path | None = None,
    *,
    top_k: int | None = None,
    probabilities: bool = False,
    overlays: bool = False,
    tile: int | None = None,
    overlap: int | None = None,
    overrides: Mapping[str, Any] | None = None,
    force: bool = False,
    console: Console | None = None,
    quiet: bool = False,
) -> Predicted:
    """Classes or masks of images, in bounded memory.

    run: a run directory. images: a file, a folder (searched at any depth), a glob, a PIL image or a numpy array as in
    `Run.predict` (which writes nothing and returns a DataFrame), or a list of these; a file is done once. An image
    without a file is called by its position in the list. Unreadable images are listed, the others done. Of a
    classification run: `out` is a CSV table, predictions.csv unless given, with path, class, probability, then class_2,
    probability_2 … up to top_k (5 unless given), and error. Of a segmentation run: `out` is a folder, masks unless
    given; probabilities, overlays: whether these are written too; tile, overlap: px, of the tiles of large images;
    masks beside the images, named as the run's own were, are passed over with a note; overrides:
    data.image_pattern and data.mask_pattern where they are named otherwise, and for every run data.bits, where images
    of 16 bits are not to be read by the training images' scale.
    force: replace what is there already. quiet: print nothing. Raises UserError when no image is found, the run has
    no weights, an argument is for the other kind of run, or something would be replaced.
    """
    console = console or Console(stderr=True, quiet=quiet)
    opened = load(run)
    path = None if out is None else as_path(out, "out")
    if top_k is not None and (not isinstance(top_k, int) or top_k < 1):
        raise UserError(f"top_k={top_k}: wanted a whole number from 1 on.")
    options = Options(top_k, probabilities, overlays, tile, overlap, dict(overrides or {}), force)
    unique = list(dict.fromkeys(given_images(images)))
    return opened.kind.predict.predict(opened, unique, path, options, console)


def render(predicted: Predicted) -> str:
    """What was done, for people; of few images also their most probable classes."""
    total = predicted.predicted + predicted.unreadable
    lines = []
    if total <= _FEW and predicted.path.is_file():
        with predicted.path.open(newline="", encoding="utf-8") as file:
            lines = [_in_words(row) for row in csv.DictReader(file)]
    done = counted(predicted.predicted, "image")
    return "\n".join([*lines, f"{done} predicted, {predicted.unreadable:,} unreadable: {predicted.path}"])


def _in_words(row: dict[str, str]) -> str:
    if row["error"]:
        return f"{row['path']}: unreadable ({row['error']})"
    ranks = ["", *(f"_{rank}" for rank in range(2, len(row)) if f"class_{rank}" in row)]
    return f"{row['path']}: " + ", ".join(f"{row[f'class{r}']} {float(row[f'probability{r}']):.3f}" for r in ranks)
