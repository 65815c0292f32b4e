"""A check of a source of images before any training."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from snellen.data.folders import UnlabelledError
from snellen.data.given import check_source
from snellen.errors import UserError
from snellen.files import as_path, check_new_file, write_text
from snellen.recipe.load import dotted
from snellen.reporting.copies import check_page
from snellen.reporting.template import check_name
from snellen.tasks.kind import Checked
from snellen.tasks.kinds import kind_of_data, kinds_of

if TYPE_CHECKING:
    from snellen.data.listing import Source


def check(
    data: Source,
    *,
    out: str | Path | None = None,
    overlays: int = 12,
    report: str | Path | None = None,
    split: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    console: Console | None = None,
    quiet: bool = False,
) -> Checked:
    """Reads and decodes every image and mask as training would, looks for copies, and returns what it finds.

    Which images are near copies is kept in the user's cache folder by their contents; `train` reads it.
    Images that appear to be unlabelled, and those listed in a .txt file, are checked as input to `pretrain`.

    Parameters:
        data: as in `train` or `pretrain`.
        out: for images with masks, a folder for drawings of the masks over their images. None: none are drawn.
        overlays: how many of these to draw.
        report: an .html file for a page with the copies side by side; the numbers are written next to it.
        split: a new .csv file for a split that no copies straddle: path, class, split, group; `train` takes it.
        overrides: fields of the recipe that say how images are read, {"data.group": …}.
        console: the rich console that progress is shown on. None: standard error.
        quiet: show no progress (no effect if `console` is given).

    Returns the counts, sizes, notes and copies; `render()` gives them as a table for a rich console, `as_dict()` as
    plain values. `copies.leaks` is not empty if the scores would be too high.
    Raises UserError where training would, except for files that cannot be used: these are listed.

    >>> snellen.check("digits")
    Check of ImageSet(digits: ...): 90 training and 30 validation images, 3 classes; 0 unreadable files
    >>> snellen.check("scenes")
    MaskCheck of MaskedSet(scenes: ...): 11 training and 5 validation images with masks, 6 classes; ...
    """
    console = console or Console(stderr=True, quiet=quiet)
    data, fields = check_source(data), dotted(overrides, {}, [])
    folder, page = (None if path is None else as_path(path, name) for path, name in ((out, "out"), (report, "report")))
    table = None if split is None else as_path(split, "split")
    if page is not None:
        check_name(page)
    if table is not None:
        if table.suffix.lower() != ".csv":
            raise UserError(f"{table}: a split is a CSV file. Choose a name such as {table.with_suffix('.csv').name}.")
        check_new_file(table, force=False)
    try:
        checked = kind_of_data(data, fields).check.check(data, fields, folder, overlays, console, "")
    except UnlabelledError as error:
        unlabelled = kinds_of("pretrain")[0]
        checked = unlabelled.check.check(data, fields, folder, overlays, console, str(error))
    if table is not None:
        write_text(table, _csv(checked.split_table()))
    if page is not None:
        images = checked.images
        text = f"{images.summary}; {images.layout}"
        check_page(images.root, text, checked.copies, checked.bits, checked.as_dict(), checked.mask_section()).write(
            page
        )
    return checked


def _csv(rows: Sequence[tuple[str, str, str, str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("path", "class", "split", "group"), *rows])
    return text.getvalue()
