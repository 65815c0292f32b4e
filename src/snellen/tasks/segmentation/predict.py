"""Masks of images by a segmentation run, as files."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from snellen.data.decode import UnreadableImageError
from snellen.data.in_memory import ImageInMemory, key_of, path_of
from snellen.data.masks.classes import ClassTable
from snellen.data.masks.unmasked import without_masks
from snellen.errors import UserError
from snellen.files import check_new_file, write_text
from snellen.recipe.load import with_data_overrides
from snellen.run.directory import RunDirectory
from snellen.tasks.kind import Options, Predicted
from snellen.tasks.overlap import say_depth
from snellen.tasks.segmentation.inference import Rows, TiledPredictor, predictor_of
from snellen.tasks.segmentation.mask_files import MaskFiles, Outputs, output_names, refuse_overwriting, valid_labels
from snellen.tasks.segmentation.recipe import SegmentationRecipe
from snellen.tasks.segmentation.record import recipe_of
from snellen.tasks.segmentation.tiling import OVERLAP, TILE
from snellen.tasks.setup import say_notes
from snellen.words import counted

_DATA_FIELDS = ("data.bits", "data.image_pattern", "data.mask_pattern")


@dataclass(frozen=True)
class Trained:
    """What predicting needs of a run, or of a file in place of it.

    source: the run or the file, for messages. masks: paths of masks that it was trained with. predictor: of tile,
    overlap and the bits of 16-bit images.
    """

    source: Path
    recipe: SegmentationRecipe
    classes: ClassTable
    masks: Sequence[str]
    predictor: Callable[[int, int, int | None], TiledPredictor]


def predict(
    run: RunDirectory, images: Sequence[Path | ImageInMemory], out: Path | None, options: Options, console: Console
) -> Predicted:
    """Writes the files of each image below `out`, as `write_masks`."""
    return write_masks(trained_of(run), images, out, options, console)


def write_masks(
    trained: Trained, images: Sequence[Path | ImageInMemory], out: Path | None, options: Options, console: Console
) -> Predicted:
    """Writes the files of each image below `out`, by default the folder masks.

    `out`/masks.csv lists every image: path, mask (below `out`), height, width, the share of its pixels in each class,
    and error. Masks next to the images, named like those of the run, are skipped with a note.
    """
    out = out or Path("masks")
    options.refuse(["top_k"], f"{trained.source}: its predictions are masks, which have no")
    images, bits = _without_masks(trained, images, options.overrides, console)
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: a file; masks are written into a folder. Choose another --out.")
    check_new_file(out / "masks.csv", options.force)
    colours = trained.classes.colours
    outputs = Outputs(colours, options.probabilities, options.overlays)
    paths = [path_of(image) for image in images]
    names = dict(zip(paths, output_names(paths), strict=True))
    targets = [outputs.targets(out, name, geo) for name in names.values() for geo in (False, True)]
    files = [path for by_folder in targets for path in by_folder.values()]
    refuse_overwriting([image for image in images if isinstance(image, Path)], files)
    for file in files:
        check_new_file(file, options.force)
    tile = TILE if options.tile is None else options.tile
    overlap = OVERLAP if options.overlap is None else options.overlap
    predictor = trained.predictor(tile, overlap, bits)
    say_depth(console, [image for image in images if isinstance(image, Path)], bits)
    table: list[list[object]] = []
    unreadable = 0
    for image, events in _by_image(predictor, images, console, options.probabilities):
        try:
            table.append([str(image), *_write(events, out, names[path_of(image)], outputs), ""])
        except UnreadableImageError as error:
            unreadable += 1
            table.append([str(image), *[""] * (3 + len(colours)), error.reason])
            _say_unreadable(error, console)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([["path", "mask", "height", "width", *trained.classes.names, "error"], *table])
    write_text(out / "masks.csv", text.getvalue())
    return Predicted(out, len(paths) - unreadable, unreadable)


def predicted_rows(
    run: RunDirectory, images: Sequence[Path | ImageInMemory], console: Console
) -> tuple[list[str], Mapping[Path | ImageInMemory, Sequence[object]]]:
    """Columns image, mask, error; for each image its path or position, and (H, W) uint8, each pixel's class or 255."""
    images, bits = _without_masks(trained_of(run), images, {}, console)
    say_depth(console, [image for image in images if isinstance(image, Path)], bits)
    rows: dict[Path | ImageInMemory, Sequence[object]] = {}
    for image, events in _by_image(predictor_of(run), images, console, probabilities=False):
        key = key_of(image)
        parts = []
        try:
            for event in events:
                if isinstance(event, UnreadableImageError):
                    raise event
                parts.append(valid_labels(event))
        except UnreadableImageError as error:
            _say_unreadable(error, console)
            rows[image] = [key, None, error.reason]
        else:
            rows[image] = [key, np.concatenate(parts), ""]
    return ["image", "mask", "error"], rows


def trained_of(run: RunDirectory) -> Trained:
    """What predicting needs of a run."""

    def predictor(tile: int, overlap: int, bits: int | None) -> TiledPredictor:
        return predictor_of(run, tile, overlap, bits)

    return Trained(run.path, recipe_of(run), ClassTable.recorded(run.data), list(run.samples()["mask"]), predictor)


def _without_masks(
    trained: Trained, images: Sequence[Path | ImageInMemory], overrides: Mapping[str, Any], console: Console
) -> tuple[list[Path | ImageInMemory], int | None]:
    """The images without the masks next to them, and the bits that 16-bit images are read by."""
    for key in overrides:
        if key not in _DATA_FIELDS:
            raise UserError(
                f"{key}: predict only reads images. It takes data.bits, and data.image_pattern and data.mask_pattern "
                "if masks are next to the images; no other field of the recipe can be changed."
            )
    spec = with_data_overrides(trained.recipe, overrides, "predict").data
    files = [image for image in images if isinstance(image, Path)]
    unmasked, masks = without_masks(files, trained.masks, spec)
    kept = set(unmasked)
    if masks:
        say_notes(console, [f"{counted(masks, 'mask')} next to the images skipped, named like those of the run"])
    return [image for image in images if isinstance(image, ImageInMemory) or image in kept], spec.bits


def _by_image(
    predictor: TiledPredictor, images: Sequence[Path | ImageInMemory], console: Console, probabilities: bool
) -> Iterator[tuple[Path | ImageInMemory, Iterator[Rows | UnreadableImageError]]]:
    """Each image with its rows, which must be consumed before the next image is requested; with a progress bar."""
    by_path = {path_of(image): image for image in images}
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("predicting", total=len(images))
        for path, events in groupby(predictor.predict(images, probabilities), key=lambda event: event.path):
            yield by_path[path], events
            bar.advance(task)


def _say_unreadable(error: UnreadableImageError, console: Console) -> None:
    console.print(f"[yellow]unreadable:[/] {escape(error.line)}", highlight=False)


def _write(events: Iterable[Rows | UnreadableImageError], out: Path, name: str, outputs: Outputs) -> list[object]:
    """Writes an image's files row by row. Raises UnreadableImageError, leaving no file, if its rows break off."""
    events = iter(events)
    first = next(events)
    if isinstance(first, UnreadableImageError):
        raise first
    with MaskFiles(out, name, first.raster, outputs) as files:
        for event in chain([first], events):
            if isinstance(event, UnreadableImageError):
                raise event
            files.write(event)
    shares = files.pixels / max(1, files.pixels.sum())
    size = [first.raster.height, first.raster.width]
    return [files.mask.relative_to(out).as_posix(), *size, *[f"{share:.6f}" for share in shares]]
