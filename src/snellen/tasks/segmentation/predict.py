"""Masks of images by a segmentation run, as files."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from snellen.data.decode import UnreadableImageError
from snellen.data.in_memory import ImageInMemory, key_of, path_of
from snellen.errors import UserError
from snellen.files import check_new_file, write_text
from snellen.run.directory import Run
from snellen.tasks.overlap import say_depth
from snellen.tasks.segmentation.inference import Rows, TiledPredictor, predictor_of
from snellen.tasks.segmentation.mask_files import MaskFiles, Wanted, output_names, refuse_overwriting, valid_labels


def predict_masks(
    run: Run,
    images: Sequence[Path | ImageInMemory],
    out: Path,
    console: Console,
    *,
    bits: int | None,
    probabilities: bool,
    overlays: bool,
    tile: int,
    overlap: int,
    force: bool,
) -> tuple[Path, int, int]:
    """Writes the files of each image below `out`; returns it, and how many images were predicted and unreadable.

    `out`/masks.csv lists every image: path, mask (below `out`), height, width, the share of its pixels in each class,
    and error. bits: of 16-bit images. For the other arguments see `predict`.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: a file; masks are written into a folder. Choose another --out.")
    check_new_file(out / "masks.csv", force)
    colours = [(int(red), int(green), int(blue)) for red, green, blue in run.data["colours"]]
    wanted = Wanted(colours, probabilities, overlays)
    paths = [path_of(image) for image in images]
    names = dict(zip(paths, output_names(paths), strict=True))
    targets = [wanted.targets(out, name, geo) for name in names.values() for geo in (False, True)]
    files = [path for each in targets for path in each.values()]
    refuse_overwriting([image for image in images if isinstance(image, Path)], files)
    for file in files:
        check_new_file(file, force)
    predictor = predictor_of(run, tile, overlap, bits)
    say_depth(console, [image for image in images if isinstance(image, Path)], bits)
    table: list[list[object]] = []
    unreadable = 0
    for image, events in _by_image(predictor, images, console, probabilities):
        try:
            table.append([str(image), *_write(events, out, names[path_of(image)], wanted), ""])
        except UnreadableImageError as error:
            unreadable += 1
            table.append([str(image), *[""] * (3 + len(colours)), error.reason])
            _say_unreadable(error, console)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([["path", "mask", "height", "width", *run.classes, "error"], *table])
    write_text(out / "masks.csv", text.getvalue())
    return out, len(paths) - unreadable, unreadable


def masks_of(run: Run, images: Sequence[Path | ImageInMemory], console: Console) -> list[list[object]]:
    """(image, mask, error) of each image: its path or position, and (H, W) uint8, the class of each pixel or 255."""
    rows: list[list[object]] = []
    say_depth(console, [image for image in images if isinstance(image, Path)], run.segmentation.data.bits)
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
            rows.append([key, None, error.reason])
        else:
            rows.append([key, np.concatenate(parts), ""])
    return rows


def _by_image(
    predictor: TiledPredictor, images: Sequence[Path | ImageInMemory], console: Console, probabilities: bool
) -> Iterator[tuple[Path | ImageInMemory, Iterator[Rows | UnreadableImageError]]]:
    """Each image with its rows, which must be used up before the next one is asked for; with a bar."""
    by_path = {path_of(image): image for image in images}
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("predicting", total=len(images))
        for path, events in groupby(predictor.predict(images, probabilities), key=lambda event: event.path):
            yield by_path[path], events
            bar.advance(task)


def _say_unreadable(error: UnreadableImageError, console: Console) -> None:
    console.print(f"[yellow]unreadable:[/] {escape(f'{error.path}: {error.reason}')}", highlight=False)


def _write(events: Iterable[Rows | UnreadableImageError], out: Path, name: str, wanted: Wanted) -> list[object]:
    """Writes an image's files as its rows come. Raises UnreadableImageError, leaving no file, when they stop coming."""
    events = iter(events)
    first = next(events)
    if isinstance(first, UnreadableImageError):
        raise first
    with MaskFiles(out, name, first.raster, wanted) as files:
        for event in chain([first], events):
            if isinstance(event, UnreadableImageError):
                raise event
            files.write(event)
    shares = files.pixels / max(1, files.pixels.sum())
    size = [first.raster.height, first.raster.width]
    return [files.mask.relative_to(out).as_posix(), *size, *[f"{share:.6f}" for share in shares]]
