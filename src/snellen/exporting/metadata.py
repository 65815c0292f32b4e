"""What an exported file says about itself: text by key in the file, written and read here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from snellen.errors import UserError
from snellen.exporting.agreement import Agreement, MaskAgreement

FORMAT = "1"
PREFIX = "snellen."


@dataclass(frozen=True)
class Metadata:
    """What `snellen predict` and `evaluate` need of an exported file, and what its reader may want to know.

    task: of the recipe. classes: their names; the index is the class's number. recipe: all its fields, as YAML. input,
    output: the arrays, in words. weights, licence: the source of the initial weights, and their licence if it is known.
    opset: of an ONNX graph. runtime: the oldest onnxruntime that such a file was tried with, and the one that compared
    this file; or the torch that did. calibration: "uncalibrated", or the temperature that divides the logits.
    precision: fp32, or int8 and what it changes. agreement: of the fp32 file with the run. data: what else of the run's
    data.json the task needs. version: of snellen.
    """

    task: str
    classes: list[str]
    recipe: str
    input: str
    output: str
    weights: str
    licence: str
    opset: int | None
    runtime: str
    calibration: str
    precision: str
    agreement: Agreement | MaskAgreement
    data: dict[str, Any]
    version: str

    def properties(self) -> dict[str, str]:
        """As text by key: texts as they are, everything else as JSON."""
        values = {"format": FORMAT, **asdict(self)}
        return {
            f"{PREFIX}{key}": value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            for key, value in values.items()
        }

    @classmethod
    def read(cls, path: Path, properties: Mapping[str, str]) -> Metadata:
        """From the properties of a file. Raises UserError, with what is missing or wrong, for another maker's file."""
        types = {field.name: field.type for field in fields(cls)}
        missing = [f"{PREFIX}{key}" for key in ("format", *types) if f"{PREFIX}{key}" not in properties]
        if missing:
            raise UserError(
                f"{path}: not a file of `snellen export`: its metadata lacks {', '.join(missing)}, without which it is "
                "not known which classes its outputs stand for and how its images are prepared. "
                "Write one with: snellen export RUN"
            )
        written = properties[f"{PREFIX}format"]
        if written != FORMAT:
            raise UserError(
                f"{path}: an export in format {written}, but this version of snellen reads format {FORMAT}. "
                "Export the run again."
            )
        try:
            texts = {key: properties[f"{PREFIX}{key}"] for key in types}
            values = {key: text if types[key] == "str" else json.loads(text) for key, text in texts.items()}
            metadata: Metadata = TypeAdapter(cls).validate_python(values)
            return metadata
        except (ValueError, RecursionError) as error:
            key = error.errors()[0]["loc"][0] if isinstance(error, ValidationError) else ""
            raise UserError(f"{path}: its metadata {PREFIX}{key} is damaged. Export the run again.") from error

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)
