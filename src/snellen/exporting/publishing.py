"""What an exported file must show before it is written, and how it is written."""

from __future__ import annotations

import glob
import importlib.metadata
import os
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from rich.console import Console
from torch import nn

from snellen.data.spread import spread
from snellen.errors import UserError
from snellen.exporting.agreement import Agreement, AnyAgreement, MaskAgreement
from snellen.exporting.metadata import Metadata
from snellen.exporting.network import OPSET
from snellen.files import replacing
from snellen.spec import Spec

MOST_COMPARED = 1000  # validation images
OLDEST_RUNTIME = "1.16.3"
IMAGES = "uint8 RGB (N, H, W, 3), upright, decoded to sRGB by the caller; any N, H and W"


def present(files: Sequence[Path], root: str, console: Console, most: int = MOST_COMPARED) -> list[Path]:
    """The files that exist, of at most `most`; a note says if none does. root: where the run found them."""
    found = [file for file in spread(files, most) if file.is_file()]
    if not found:
        console.print(
            f"[yellow]note:[/] the run's validation images are no longer in {root}: the file is only compared on "
            "generated images",
            highlight=False,
            soft_wrap=True,
        )
    return found


def check_room(out: Path, model: nn.Module, int8: bool) -> None:
    """Raises UserError if a file of the network's weights cannot be written, before it takes minutes to compare it."""
    folder = next(parent for parent in out.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UserError(f"{out}: cannot be written into {folder}. Choose another folder.")
    size = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    size = size // 4 if int8 else size
    if shutil.disk_usage(folder).free < size:
        mib = size / 2**20
        raise UserError(f"{out}: the disk is full; the file needs about {mib:,.0f} MiB. Free some space.")


def refuse_disagreement(out: Path, found: AnyAgreement) -> None:
    """Raises UserError, with what differs and by how much, unless the file gives the run's answers."""
    if not found.holds:
        raise UserError(
            f"{out}: not written, since the exported network does not give the run's answers: {found}. "
            f"Expected: {found.expected}."
        )


def licence_of(weights: str | None, known: str | None) -> tuple[str, str]:
    """The source of initial weights and their licence, in words. known: the licence of published ones."""
    if weights is None:
        return "trained from scratch", "none: trained from scratch"
    return Path(weights).name, known or "unknown"


def metadata_of(
    recipe: Spec,
    task: str,
    classes: list[str],
    *,
    output: str,
    weights: tuple[str, str],
    precision: str,
    found: Agreement | MaskAgreement,
    format: Literal["onnx", "torch"],
    data: dict[str, Any] | None = None,
    images: str = IMAGES,
) -> Metadata:
    """The metadata of a file. weights: their source and licence. images, output: in words. data: as in Metadata."""
    source, licence = weights
    if format == "torch":
        opset, runtime = None, f"torch {torch.__version__}, which wrote it and compared it with the run"
    else:
        opset, here = OPSET, importlib.metadata.version("onnxruntime")
        runtime = f"oldest onnxruntime tried: {OLDEST_RUNTIME}; compared with the run by {here}"
    return Metadata(
        task=task,
        classes=classes,
        recipe=yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True),
        input=images,
        output=output,
        weights=source,
        licence=licence,
        opset=opset,
        runtime=runtime,
        calibration="uncalibrated",
        precision=precision,
        agreement=found,
        data=data or {},
        version=importlib.metadata.version("snellen"),
    )


def write_file(out: Path, content: bytes) -> None:
    """Writes the file whole or not at all. Raises UserError if the disk is full or the folder cannot be written."""
    _remove_half_written(out)
    with replacing(out) as temporary:
        temporary.write_bytes(content)


def _remove_half_written(out: Path) -> None:
    """Removes what an export to the same file left behind when it was killed."""
    for file in out.parent.glob(f".{glob.escape(out.name)}.*.tmp"):
        process = re.search(r"\.(\d+)\.\d+\.tmp$", file.name)
        try:
            if process is not None and int(process[1]) > 0:
                os.kill(int(process[1]), 0)  # asks whether it runs
        except (ProcessLookupError, OverflowError):
            with suppress(OSError):
                file.unlink()
        except OSError:
            continue
