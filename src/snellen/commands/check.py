"""A check of a source of images before any training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from snellen.data.folders import UnlabelledError
from snellen.data.given import check_source
from snellen.files import as_path
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
    if page is not None:
        check_name(page)
    try:
        checked = kind_of_data(data, fields).check.check(data, fields, folder, overlays, console, "")
    except UnlabelledError as error:
        unlabelled = kinds_of("pretrain")[0]
        checked = unlabelled.check.check(data, fields, folder, overlays, console, str(error))
    if page is not None:
        images = checked.images
        check_page(images.root, repr(images), checked.copies, checked.bits, checked.as_dict()).write(page)
    return checked
