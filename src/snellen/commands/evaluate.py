"""A trained run scored on new labelled images, or on new images with masks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from snellen.data.given import check_source
from snellen.files import as_path, check_new_file, write_json
from snellen.runs import Run, exported_file, kind_of_file, load
from snellen.tasks.kind import Evaluated

if TYPE_CHECKING:
    from snellen.data.listing import Source


def evaluate(
    run: str | Path | Run,
    data: Source,
    out: str | Path | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    force: bool = False,
    console: Console | None = None,
    quiet: bool = False,
) -> Evaluated:
    """Scores the chosen epoch of a run on labelled images or images with masks, with 95% intervals.

    Prints which images are scored, and whether the run was trained on them or its epoch chosen on them.

    Parameters:
        run: a run, its folder, or an ONNX file that `export` wrote.
        data: as in `train`, in any layout. If the data are split, the validation part is scored.
        out: a JSON file for the figures. None: none is written.
        overrides: `data` fields of the recipe for these images, {"data.unreadable": "skip"}.
        force: replace an existing file.
        console: the rich console that notes are printed on. None: standard error.
        quiet: print nothing (no effect if `console` is given).

    Returns the figures; `as_dict()` gives them by name.
    Raises UserError for a class that the run does not know, for unreadable images unless the recipe skips them, and if
    a file would be replaced.

    >>> evaluated = snellen.evaluate("runs/digits", "digits")
    >>> evaluated
    Evaluated on 30 images, 3 classes: top-1 ...% (95% interval ...)
    >>> 0 <= evaluated.as_dict()["top1"] <= 1
    True
    """
    console = console or Console(stderr=True, quiet=quiet)
    data = check_source(data)
    out = None if out is None else as_path(out, "out")
    if out is not None:
        check_new_file(out, force)
    if (file := exported_file(run)) is not None:
        evaluated = kind_of_file(file).export.evaluate_file(file, data, overrides, console)
    else:
        opened = load(run)
        evaluated = opened.kind.evaluate.evaluate(opened, data, overrides, console)
    if out is not None:
        write_json(out, evaluated.as_dict())
    return evaluated
