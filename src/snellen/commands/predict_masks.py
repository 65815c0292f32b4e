"""Masks of images by a segmentation run, as files."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from itertools import chain, groupby
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from snellen.commands.overlap import say_depth
from snellen.data.decode import UnreadableImageError
from snellen.engine.run_directory import Run
from snellen.errors import UserError
from snellen.files import check_new_file, write_text
from snellen.tasks.mask_files import MaskFiles, Wanted, output_names, refuse_overwriting
from snellen.tasks.segmentation_inference import Rows, predictor_of


def predict_masks(
    run: Run,
    paths: list[Path],
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
    names = dict(zip(paths, output_names(paths), strict=True))
    targets = [wanted.targets(out, name, geo) for name in names.values() for geo in (False, True)]
    files = [path for each in targets for path in each.values()]
    refuse_overwriting(paths, files)
    for file in files:
        check_new_file(file, force)
    predictor = predictor_of(run, tile, overlap, bits)
    say_depth(console, paths, bits)
    table: list[list[object]] = []
    unreadable = 0
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("predicting", total=len(paths))
        for path, events in groupby(predictor.predict(paths, probabilities), key=lambda event: event.path):
            try:
                table.append([str(path), *_write(events, out, names[path], wanted), ""])
            except UnreadableImageError as error:
                unreadable += 1
                table.append([str(path), *[""] * (3 + len(colours)), error.reason])
                console.print(f"[yellow]unreadable:[/] {escape(f'{error.path}: {error.reason}')}", highlight=False)
            bar.advance(task)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([["path", "mask", "height", "width", *run.classes, "error"], *table])
    write_text(out / "masks.csv", text.getvalue())
    return out, len(paths) - unreadable, unreadable


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
