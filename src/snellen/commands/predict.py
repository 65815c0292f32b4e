"""Classes of unlabelled images, as a table, or their masks, as files: whatever the run has learnt."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from snellen.data.sources import list_images
from snellen.engine.run_directory import Run
from snellen.errors import UserError
from snellen.files import check_new_file, replacing
from snellen.words import counted

if TYPE_CHECKING:
    from snellen.tasks.inference import PredictedBatch

_FEW = 10  # images whose classes are printed too
_NAMING = ("data.image_pattern", "data.mask_pattern")
_BITS = "data.bits"


@dataclass(frozen=True)
class Predicted:
    """path: the table, or the folder of masks. predicted, unreadable: how many images."""

    path: Path
    predicted: int
    unreadable: int


def predict(
    run: str | Path | Run,
    images: str | Path | Sequence[str | Path],
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

    run: a run directory. images: files, folders (searched at any depth) or globs. Unreadable images are listed, the
    others done. Of a classification run: `out` is a CSV table, predictions.csv unless given, with path, class,
    probability, then class_2, probability_2 … up to top_k (5 unless given), and error. Of a segmentation run: `out` is
    a folder, masks unless given, as tasks/mask_files.py describes it; probabilities, overlays: whether these are
    written too; tile, overlap: px, of the tiles of large images; masks beside the images, named as the run's own were,
    are passed over with a note; overrides: data.image_pattern and data.mask_pattern where they are named otherwise,
    and for every run data.bits, where images of 16 bits are not to be read by the training images' scale.
    force: replace what is there already. quiet: print nothing. Raises UserError when no image is found, the run has
    no weights, an argument is for the other kind of run, or something would be replaced.
    """
    console = console or Console(stderr=True, quiet=quiet)
    opened = run if isinstance(run, Run) else Run(Path(run))
    paths = _wanted(opened, list_images([images] if isinstance(images, str | Path) else images), overrides, console)
    bits = _bits(opened, overrides)
    if opened.recipe.task == "segmentation":
        if top_k is not None:
            raise UserError(f"{opened.path}: a segmentation run, whose masks have no top_k.")
        from snellen.commands.predict_masks import predict_masks
        from snellen.tasks.segmentation_inference import OVERLAP, TILE

        return Predicted(
            *predict_masks(
                *(opened, paths, Path(out or "masks"), console),
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
    path = Path(out or "predictions.csv")
    check_new_file(path, force)
    return _predict_classes(opened, paths, path, 5 if top_k is None else top_k, bits, console)


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


def _wanted(run: Run, paths: list[Path], overrides: Mapping[str, Any] | None, console: Console) -> list[Path]:
    """The images among the files: of a segmentation run without the masks beside them."""
    for key in overrides or {}:
        if key != _BITS and (run.recipe.task != "segmentation" or key not in _NAMING):
            raise UserError(
                f"{key}: predict reads images only. It takes {_BITS} and, of a segmentation run, "
                f"{' and '.join(_NAMING)}, where masks lie beside the images; nothing else of the recipe can be "
                "changed."
            )
    if run.recipe.task != "segmentation":
        return paths
    from snellen.data.masks.unmasked import without_masks
    from snellen.recipe.load import with_data_overrides

    spec = with_data_overrides(run.segmentation, overrides, "predict").data
    images, masks = without_masks(paths, list(run.samples()["mask"]), spec)
    if masks:
        files = "1 mask" if masks == 1 else f"{masks:,} masks"
        console.print(
            f"[yellow]note:[/] {files} beside the images passed over, named as the run's own", highlight=False
        )
    return images


def _bits(run: Run, overrides: Mapping[str, Any] | None) -> int | None:
    """By which images of 16 bits are read: data.bits where it is given, else as in training."""
    from snellen.recipe.load import with_data_overrides

    given = {key: value for key, value in (overrides or {}).items() if key == _BITS}
    if run.recipe.task == "segmentation":
        return with_data_overrides(run.segmentation, given, "predict").data.bits
    return with_data_overrides(run.classification, given, "predict").data.bits


def _predict_classes(
    run: Run, paths: list[Path], out: Path, top_k: int, bits: int | None, console: Console
) -> Predicted:
    from snellen.commands.overlap import say_depth
    from snellen.tasks.inference import Predictor

    top_k = min(top_k, len(run.classes))
    predictor = Predictor(run, bits)
    say_depth(console, paths, bits)
    predicted = unreadable = 0
    with (
        replacing(out) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        more = [f"{name}_{rank}" for rank in range(2, top_k + 1) for name in ("class", "probability")]
        writer.writerow(["path", "class", "probability", *more, "error"])
        with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task("predicting", total=len(paths))
            for batch in predictor.predict(paths):
                writer.writerows(_rows(batch, run.classes, top_k))
                predicted += len(batch.paths)
                unreadable += len(batch.unreadable)
                bar.advance(task, len(batch.paths) + len(batch.unreadable))
                for error in batch.unreadable:
                    console.print(f"[yellow]unreadable:[/] {escape(f'{error.path}: {error.reason}')}", highlight=False)
    return Predicted(out, predicted, unreadable)


def _rows(batch: PredictedBatch, classes: list[str], top_k: int) -> list[list[str]]:
    rows = []
    for path, probabilities in zip(batch.paths, batch.probabilities, strict=True):
        best = np.argsort(-probabilities, kind="stable")[:top_k]
        cells = [text for index in best for text in (classes[index], f"{probabilities[index]:.6f}")]
        rows.append([str(path), *cells, ""])
    rows += [[str(error.path), *[""] * (2 * top_k), error.reason] for error in batch.unreadable]
    return rows
