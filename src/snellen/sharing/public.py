"""What of a run may leave this machine: its fields and metadata without folders."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from snellen.exporting.metadata import PREFIX


def without_folders(value: Any) -> Any:
    """Nested fields in which each absolute path is the name of its file."""
    if isinstance(value, Mapping):
        return {key: without_folders(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(inner) for inner in value]
    return Path(value).name if isinstance(value, str) and os.path.isabs(value) else value


def make_public(onnx_file: Path) -> None:
    """Takes the folders out of the recipe and the data in the metadata of an exported file."""
    import onnx
    from onnx import helper

    model = onnx.load(onnx_file)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    recipe, data = f"{PREFIX}recipe", f"{PREFIX}data"
    fields = without_folders(yaml.safe_load(properties[recipe]))
    properties[recipe] = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)
    properties[data] = json.dumps(without_folders(json.loads(properties[data])), ensure_ascii=False)
    helper.set_model_props(model, properties)
    onnx_file.write_bytes(model.SerializeToString())
