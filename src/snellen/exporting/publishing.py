"""What an exported file must show before it is written, and how it is written."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

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
    output: str,
    weights: tuple[str, str],
    precision: str,
    found: Agreement | MaskAgreement,
    data: dict[str, Any] | None = None,
    images: str = IMAGES,
) -> Metadata:
    """The metadata of a file. weights: their source and licence. images, output: in words. data: as in Metadata."""
    source, licence = weights
    here = importlib.metadata.version("onnxruntime")
    return Metadata(
        task=task,
        classes=classes,
        recipe=yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True),
        input=images,
        output=output,
        weights=source,
        licence=licence,
        opset=OPSET,
        runtime=f"oldest onnxruntime tried: {OLDEST_RUNTIME}; compared with the run by {here}",
        calibration="uncalibrated",
        precision=precision,
        agreement=found,
        data=data or {},
        version=importlib.metadata.version("snellen"),
    )


def write_file(out: Path, content: bytes) -> None:
    """Writes the file whole or not at all. Raises UserError if the disk is full or the folder cannot be written."""
    with replacing(out) as temporary:
        temporary.write_bytes(content)
