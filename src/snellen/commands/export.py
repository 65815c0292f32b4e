"""A trained run as a file that other programs run without snellen."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from rich.console import Console

from snellen.errors import UserError
from snellen.exporting.extras import require
from snellen.exporting.onnx_file import SUFFIX as ONNX
from snellen.files import as_path, check_new_file
from snellen.runs import Run, load
from snellen.tasks.kind import Exported, ExportOptions, Format

_SUFFIXES = {"onnx": ONNX, "torch": ".pt2"}


def export(
    run: str | Path | Run,
    out: str | Path | None = None,
    *,
    format: str = "onnx",
    int8: bool = False,
    force: bool = False,
    console: Console | None = None,
    quiet: bool = False,
) -> Exported:
    """Writes a trained network as one file with its preprocessing: decoded images in, probabilities out.

    For a segmentation run: images or tiles at the network's own scale in, logits of each pixel out. Resizing, tiles and
    blending stay outside; `predict` and `evaluate` do them for the file as for the run.

    Before it is written, the file is compared with the run on up to 1,000 of its validation images and on 200 generated
    ones of unusual sizes and kinds. It is only written if it gives the same classes, unless the two best are within
    0.002 of each other, and probabilities that differ by at most 0.001, both in fp32 on the CPU. Masks are compared
    on up to 50 validation images and 6 generated ones, of which at least 99.99% of the pixels must have the same class.
    What was found is in the file's metadata, with the names of the classes and the recipe.

    Parameters:
        run: a finished run, or its folder.
        out: the file. None: the name of the run with .onnx, .int8.onnx or .pt2, in the working folder.
        format: "onnx", which runs with onnxruntime, and which `predict`, `evaluate` and `serve` take; or "torch", a
            program of torch.export, which runs with torch.
        int8: quantise the network, calibrated on training images. The change in top-1 or mIoU on the validation images
            is measured; the file is refused if even the better end of its 95% interval loses more than 1 point. Only
            as ONNX.
        force: replace an existing file; with int8, also write a file that would be refused.
        console: the rich console that progress is printed on. None: standard error.
        quiet: print nothing (no effect if `console` is given).

    Returns the path of the file and the agreement that was measured.
    Raises UserError if the run is not finished, if the file does not give the run's answers, or if it would replace
    another.

    >>> exported = snellen.export("runs/digits", "digits.onnx")
    >>> exported.agreement.different, exported.agreement.largest < 0.001
    (0, True)
    >>> snellen.predict("digits.onnx", "digits/val/2", "from-file.csv").predicted
    10
    """
    opened = load(run)
    if format not in _SUFFIXES:
        raise UserError(f"format={format!r}: expected {' or '.join(_SUFFIXES)}")
    if format == "torch" and int8:
        raise UserError("int8 is only written as ONNX: leave out format=torch, or int8.")
    if format == "onnx":
        require("onnx", "onnxscript", "onnxruntime", what="export")
    ending = _SUFFIXES[format]
    suffix = f".int8{ending}" if int8 else ending
    path = Path(f"{opened.name}{suffix}") if out is None else as_path(out, "out")
    if path.suffix != ending:
        raise UserError(f"out={path}: expected a name that ends in {ending}, such as {path.with_suffix(suffix)}")
    check_new_file(path, force)
    opened.require_finished("exported")
    console = console or Console(stderr=True, quiet=quiet)
    return opened.kind.export.export(opened, path, ExportOptions(cast("Format", format), int8, force), console)
