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
    features: str | Path | None = None,
    labels: str | Path | None = None,
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
        features: the folder of a run, or the name of a backbone, whose features tell which labels are suspect. None:
            labels are not checked.
        labels: a new .csv file for all labels, the most suspect first; with their classes corrected, `train` takes it.
        overrides: fields of the recipe that say how images are read, {"data.group": …}; for a backbone also
            "model.weights" (a file; None: ImageNet's from its hub) and "evaluation.size".
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
    table, label_table = _new_table(split, "split", "a split"), _new_table(labels, "labels", "a table of labels")
    if label_table is not None and features is None:
        raise UserError(f"{label_table}: labels are checked by features. Add --features RUN or BACKBONE.")
    if page is not None:
        check_name(page)
    try:
        checked = kind_of_data(data, fields).check.check(data, fields, folder, overlays, console, "", features)
    except UnlabelledError as error:
        unlabelled = kinds_of("pretrain")[0]
        checked = unlabelled.check.check(data, fields, folder, overlays, console, str(error), features)
    if table is not None:
        write_text(table, _csv([("path", "class", "split", "group"), *checked.split_table()]))
    if label_table is not None and checked.suspects is not None:
        write_text(label_table, _csv(checked.suspects.table(checked.images.root)))
    if page is not None:
        images = checked.images
        text = f"{images.summary}; {images.layout}"
        numbers, masks = checked.as_dict(), checked.mask_section()
        check_page(images.root, text, checked.copies, checked.bits, numbers, masks, checked.suspects).write(page)
    return checked


def _new_table(path: str | Path | None, option: str, what: str) -> Path | None:
    """The path of a CSV file to be written. Raises UserError if it is none, or is there already."""
    if path is None:
        return None
    table = as_path(path, option)
    if table.suffix.lower() != ".csv":
        raise UserError(f"{table}: {what} is a CSV file. Choose a name such as {table.with_suffix('.csv').name}.")
    check_new_file(table, force=False)
    return table


def _csv(rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
