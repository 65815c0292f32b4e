"""Predictions for unlabelled images: a table of classes, or files of masks, depending on the run."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from snellen.data.in_memory import given_images
from snellen.errors import UserError
from snellen.files import as_path
from snellen.runs import Run, exported_file, kind_of_file, load
from snellen.tasks.kind import Options, Predicted
from snellen.words import counted

if TYPE_CHECKING:
    from snellen.data.in_memory import Images

_FEW = 10  # images up to which their classes are printed too


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
    """Predicts classes or masks, writes them to files and returns their location. Memory is bounded.

    Parameters:
        run: a run, its folder, or an ONNX file that `export` wrote.
        images: a file, a folder (searched at any depth), a glob, a PIL image or a numpy array as in `Run.predict`
            (which writes nothing and returns a DataFrame), or a list of these. A file that is listed twice is predicted
            once. An image without a file is called by its position in the list.
        out: for classes a CSV table, by default predictions.csv, with the columns path, class, probability, then
            class_2, probability_2, … up to `top_k`, and error. For masks a folder, by default masks.
        top_k: for classes, the number of classes per image, by default 5.
        probabilities: for masks, also write the probability of each class.
        overlays: for masks, also write them over the images.
        tile: for masks, the side of the tiles that a large image is cut into, in px, by default 768.
        overlap: for masks, the px that neighbouring tiles share, by default 128.
        overrides: data.bits, to read 16-bit images at another scale than that of the training images; for masks also
            data.image_pattern and data.mask_pattern. Masks next to the images, named like those of the run,
            are skipped with a note; set the patterns if their names differ.
        force: replace existing files.
        console: the rich console that progress is printed on. None: standard error.
        quiet: print nothing (no effect if `console` is given).

    Returns the path, the number of images predicted, and the number that cannot be read; the reasons are listed.
    Raises UserError if no image is found, the run has no weights, an argument is for the other kind of run, or a file
    would be replaced.

    >>> predicted = snellen.predict("runs/digits", "digits/val/2", "predictions.csv")
    >>> predicted.predicted, predicted.unreadable
    (10, 0)
    >>> list(predicted.table().columns[:4])
    ['path', 'class', 'probability', 'class_2']
    """
    console = console or Console(stderr=True, quiet=quiet)
    path = None if out is None else as_path(out, "out")
    if top_k is not None and (not isinstance(top_k, int) or top_k < 1):
        raise UserError(f"top_k={top_k}: expected a whole number of at least 1.")
    options = Options(top_k, probabilities, overlays, tile, overlap, dict(overrides or {}), force)
    unique = list(dict.fromkeys(given_images(images)))
    if (file := exported_file(run)) is not None:
        return kind_of_file(file).export.predict_file(file, unique, path, options, console)
    opened = load(run)
    return opened.kind.predict.predict(opened, unique, path, options, console)


def as_dict(predicted: Predicted) -> dict[str, Any]:
    """For JSON: path, predicted, unreadable; for a few images also rows, those of the table by column."""
    summary = {
        "path": str(predicted.path),
        "predicted": predicted.predicted,
        "unreadable": predicted.unreadable,
    }
    if predicted.predicted + predicted.unreadable > _FEW:
        return summary
    rows = json.loads(predicted.table().to_json(orient="records", double_precision=15))
    return summary | {"rows": rows}


def render(predicted: Predicted) -> str:
    """A summary as text; for a few images also their most probable classes."""
    total = predicted.predicted + predicted.unreadable
    lines = []
    if total <= _FEW and predicted.path.is_file():
        with predicted.path.open(newline="", encoding="utf-8") as file:
            lines = [_row_text(row) for row in csv.DictReader(file)]
    images = counted(predicted.predicted, "image")
    return "\n".join([*lines, f"{images} predicted, {predicted.unreadable:,} unreadable: {predicted.path}"])


def _row_text(row: dict[str, str]) -> str:
    if row["error"]:
        return f"{row['path']}: unreadable ({row['error']})"
    ranks = ["", *(f"_{rank}" for rank in range(2, len(row)) if f"class_{rank}" in row)]
    return f"{row['path']}: " + ", ".join(f"{row[f'class{r}']} {float(row[f'probability{r}']):.3f}" for r in ranks)
