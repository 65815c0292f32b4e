"""Classes of unlabelled images, as a table."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from snellen.data.in_memory import ImageInMemory, key_of
from snellen.errors import UserError
from snellen.files import check_new_file, replacing
from snellen.recipe.load import with_data_overrides
from snellen.run.directory import RunDirectory
from snellen.tasks.classification.inference import ClassPredictor, PredictedBatch, Predictor
from snellen.tasks.classification.recipe import Recipe
from snellen.tasks.classification.record import recipe_of
from snellen.tasks.kind import Options, Predicted
from snellen.tasks.overlap import say_depth

_TOP_K = 5


def predict(
    run: RunDirectory, images: Sequence[Path | ImageInMemory], out: Path | None, options: Options, console: Console
) -> Predicted:
    """Writes a CSV table: path, class, probability, then class_2, probability_2 … up to top_k, and error."""
    bits = predicted_bits(recipe_of(run), options, run.path)
    return write_table(Predictor(run, bits), run.classes, bits, images, out, options, console)


def predicted_bits(recipe: Recipe, options: Options, source: Path) -> int | None:
    """The bits that 16-bit images are read by. Raises UserError for options that a classifier does not have.

    source: the run or the file, for messages.
    """
    mask_options = ("probabilities", "overlays", "tile", "overlap")
    options.refuse(mask_options, f"{source}: a classifier writes a table; it has no")
    for key in options.overrides:
        if key != "data.bits":
            raise UserError(
                f"{key}: predict only reads images, so data.bits is the only field of the recipe that it takes."
            )
    return with_data_overrides(recipe, options.overrides, "predict").data.bits


def write_table(
    predictor: ClassPredictor,
    classes: list[str],
    bits: int | None,
    images: Sequence[Path | ImageInMemory],
    out: Path | None,
    options: Options,
    console: Console,
) -> Predicted:
    """Writes the table of `predict`."""
    path = out or Path("predictions.csv")
    check_new_file(path, options.force)
    top_k = min(_TOP_K if options.top_k is None else options.top_k, len(classes))
    predicted = unreadable = 0
    with (
        replacing(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        runners_up = [f"{name}_{rank}" for rank in range(2, top_k + 1) for name in ("class", "probability")]
        writer.writerow(["path", "class", "probability", *runners_up, "error"])
        for batch in _batches(predictor, images, bits, console):
            writer.writerows(_rows(batch, images, classes, top_k))
            predicted += len(batch.rows)
            unreadable += len(batch.unreadable)
    return Predicted(path, predicted, unreadable)


def predicted_rows(
    run: RunDirectory, images: Sequence[Path | ImageInMemory], console: Console
) -> tuple[list[str], Mapping[Path | ImageInMemory, Sequence[object]]]:
    """Columns image, class, probability, probability_NAME of each class, error; and the cells of each image."""
    columns = ["image", "class", "probability", *(f"probability_{name}" for name in run.classes), "error"]
    bits = recipe_of(run).data.bits
    batches = _batches(Predictor(run, bits), images, bits, console)
    rows = [row for batch in batches for row in _full_rows(batch, images, run.classes)]
    return columns, dict(zip(images, rows, strict=True))


def _batches(
    predictor: ClassPredictor, images: Sequence[Path | ImageInMemory], bits: int | None, console: Console
) -> Iterator[PredictedBatch]:
    """Probabilities, with a progress bar; prints notes on 16-bit and unreadable images."""
    say_depth(console, [image for image in images if isinstance(image, Path)], bits)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("predicting", total=len(images))
        for batch in predictor.predict(images):
            yield batch
            bar.advance(task, len(batch))
            for error in batch.unreadable.values():
                console.print(f"[yellow]unreadable:[/] {escape(error.line)}", highlight=False)


def _rows(
    batch: PredictedBatch, images: Sequence[Path | ImageInMemory], classes: list[str], top_k: int
) -> list[list[str]]:
    rows = []
    for row, probabilities in zip(batch.rows, batch.probabilities, strict=True):
        top = np.argsort(-probabilities, kind="stable")[:top_k]
        cells = [text for index in top for text in (classes[index], f"{probabilities[index]:.6f}")]
        rows.append([str(images[row]), *cells, ""])
    rows += [[str(images[row]), *[""] * (2 * top_k), error.reason] for row, error in batch.unreadable.items()]
    return rows


def _full_rows(
    batch: PredictedBatch, images: Sequence[Path | ImageInMemory], classes: Sequence[str]
) -> list[list[object]]:
    rows: dict[int, list[object]] = {}
    for row, scores in zip(batch.rows, batch.probabilities, strict=True):
        best = int(scores.argmax())
        rows[row] = [key_of(images[row]), classes[best], float(scores[best]), *map(float, scores), ""]
    for row, error in batch.unreadable.items():
        rows[row] = [key_of(images[row]), None, *[np.nan] * (1 + len(classes)), error.reason]
    return [rows[row] for row in sorted(rows)]
