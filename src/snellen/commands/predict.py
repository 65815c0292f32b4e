"""Classes of unlabelled images, as a table, or their masks, as files or arrays: whatever the run has learnt."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from snellen.data.in_memory import ImageInMemory, given_images, key_of
from snellen.errors import UserError
from snellen.files import as_path, check_new_file, replacing
from snellen.run.directory import Run, load
from snellen.words import counted

if TYPE_CHECKING:
    import pandas as pd

    from snellen.data.in_memory import Images
    from snellen.tasks.classification.inference import PredictedBatch

_FEW = 10  # images whose classes are printed too
_NAMING = ("data.image_pattern", "data.mask_pattern")
_BITS = "data.bits"


@dataclass(frozen=True)
class Predicted:
    """path: the table, or the folder of masks. predicted, unreadable: how many images."""

    path: Path
    predicted: int
    unreadable: int

    def table(self) -> pd.DataFrame:
        """What was written, a row an image: the CSV file, or masks.csv of the folder of masks."""
        import pandas as pd

        masks = self.path.is_dir()
        table = pd.read_csv(self.path / "masks.csv" if masks else self.path, dtype=str, keep_default_na=False)
        texts = {"path", "mask", "error"}
        for column in table.columns:
            if column not in texts and (masks or column.startswith("probability")):
                table[column] = pd.to_numeric(table[column])
        return table


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
    given, as tasks/mask_files.py describes it; probabilities, overlays: whether these are written too; tile, overlap:
    px, of the tiles of large images; masks beside the images, named as the run's own were, are passed over with a note;
    overrides: data.image_pattern and data.mask_pattern where they are named otherwise, and for every run data.bits,
    where images of 16 bits are not to be read by the training images' scale.
    force: replace what is there already. quiet: print nothing. Raises UserError when no image is found, the run has
    no weights, an argument is for the other kind of run, or something would be replaced.
    """
    console = console or Console(stderr=True, quiet=quiet)
    opened = load(run)
    out = None if out is None else as_path(out, "out")
    if top_k is not None and (not isinstance(top_k, int) or top_k < 1):
        raise UserError(f"top_k={top_k}: wanted a whole number from 1 on.")
    paths = _wanted(opened, list(dict.fromkeys(given_images(images))), overrides, console)
    bits = _bits(opened, overrides)
    if opened.recipe.task == "segmentation":
        if top_k is not None:
            raise UserError(f"{opened.path}: a segmentation run, whose masks have no top_k.")
        from snellen.tasks.segmentation.inference import OVERLAP, TILE
        from snellen.tasks.segmentation.predict import predict_masks

        return Predicted(
            *predict_masks(
                *(opened, paths, out or Path("masks"), console),
                bits=bits,
                probabilities=probabilities,
                overlays=overlays,
                tile=TILE if tile is None else tile,
                overlap=OVERLAP if overlap is None else overlap,
                force=force,
            )
        )
    of_masks = {"probabilities": probabilities, "overlays": overlays, "tile": tile, "overlap": overlap}
    if wrong := [name for name, value in of_masks.items() if value not in (None, False)]:
        raise UserError(f"{opened.path}: a {opened.recipe.task} run writes a table; it has no {', '.join(wrong)}.")
    path = out or Path("predictions.csv")
    check_new_file(path, force)
    return _predict_classes(opened, paths, path, 5 if top_k is None else top_k, bits, console)


def predicted_frame(run: Run, images: Images, console: Console) -> pd.DataFrame:
    """What `Run.predict` returns; see there."""
    import pandas as pd

    given = given_images(images)
    each = _wanted(run, list(dict.fromkeys(given)), None, console)
    if run.recipe.task == "segmentation":
        from snellen.tasks.segmentation.predict import masks_of

        columns = ["image", "mask", "error"]
        rows = masks_of(run, each, console)
    else:
        columns = ["image", "class", "probability", *(f"probability_{name}" for name in run.classes), "error"]
        bits = run.classification.data.bits
        rows = [row for batch in _batches(run, each, bits, console) for row in _full_rows(batch, each, run.classes)]
    row_of = dict(zip(each, rows, strict=True))
    return pd.DataFrame([row_of[image] for image in given if image in row_of], columns=columns)


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


def _wanted(
    run: Run, images: list[Path | ImageInMemory], overrides: Mapping[str, Any] | None, console: Console
) -> list[Path | ImageInMemory]:
    """The images among the files: of a segmentation run without the masks beside them."""
    for key in overrides or {}:
        if key != _BITS and (run.recipe.task != "segmentation" or key not in _NAMING):
            raise UserError(
                f"{key}: predict reads images only. It takes {_BITS} and, of a segmentation run, "
                f"{' and '.join(_NAMING)}, where masks lie beside the images; nothing else of the recipe can be "
                "changed."
            )
    if run.recipe.task != "segmentation":
        return images
    from snellen.data.masks.unmasked import without_masks
    from snellen.recipe.load import with_data_overrides

    spec = with_data_overrides(run.segmentation, overrides, "predict").data
    files = [image for image in images if isinstance(image, Path)]
    unmasked, masks = without_masks(files, list(run.samples()["mask"]), spec)
    kept = set(unmasked)
    if masks:
        console.print(
            f"[yellow]note:[/] {counted(masks, 'mask')} beside the images passed over, named as the run's own",
            highlight=False,
        )
    return [image for image in images if isinstance(image, ImageInMemory) or image in kept]


def _bits(run: Run, overrides: Mapping[str, Any] | None) -> int | None:
    """By which images of 16 bits are read: data.bits where it is given, else as in training."""
    from snellen.recipe.load import with_data_overrides

    given = {key: value for key, value in (overrides or {}).items() if key == _BITS}
    if run.recipe.task == "segmentation":
        return with_data_overrides(run.segmentation, given, "predict").data.bits
    return with_data_overrides(run.classification, given, "predict").data.bits


def _predict_classes(
    run: Run, images: Sequence[Path | ImageInMemory], out: Path, top_k: int, bits: int | None, console: Console
) -> Predicted:
    top_k = min(top_k, len(run.classes))
    predicted = unreadable = 0
    with (
        replacing(out) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        more = [f"{name}_{rank}" for rank in range(2, top_k + 1) for name in ("class", "probability")]
        writer.writerow(["path", "class", "probability", *more, "error"])
        for batch in _batches(run, images, bits, console):
            writer.writerows(_rows(batch, images, run.classes, top_k))
            predicted += len(batch.rows)
            unreadable += len(batch.unreadable)
    return Predicted(out, predicted, unreadable)


def _batches(
    run: Run, images: Sequence[Path | ImageInMemory], bits: int | None, console: Console
) -> Iterator[PredictedBatch]:
    """The run's probabilities, with a bar; what should be known of 16-bit images and unreadable images are printed."""
    from snellen.tasks.classification.inference import Predictor
    from snellen.tasks.overlap import say_depth

    predictor = Predictor(run, bits)
    say_depth(console, [image for image in images if isinstance(image, Path)], bits)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("predicting", total=len(images))
        for batch in predictor.predict(images):
            yield batch
            bar.advance(task, len(batch))
            for error in batch.unreadable.values():
                console.print(f"[yellow]unreadable:[/] {escape(f'{error.path}: {error.reason}')}", highlight=False)


def _rows(
    batch: PredictedBatch, images: Sequence[Path | ImageInMemory], classes: list[str], top_k: int
) -> list[list[str]]:
    rows = []
    for row, probabilities in zip(batch.rows, batch.probabilities, strict=True):
        best = np.argsort(-probabilities, kind="stable")[:top_k]
        cells = [text for index in best for text in (classes[index], f"{probabilities[index]:.6f}")]
        rows.append([str(images[row]), *cells, ""])
    rows += [[str(images[row]), *[""] * (2 * top_k), error.reason] for row, error in batch.unreadable.items()]
    return rows
