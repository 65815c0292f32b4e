"""From a study's name or file, and the command line's overrides, to a validated StudySpec."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snellen.errors import UserError
from snellen.recipe.fields import nearest_fields
from snellen.recipe.load import apply_overrides, explain, validate
from snellen.recipe.text import ShippedFiles, parse_yaml
from snellen.study.spec import StudySpec
from snellen.tasks.kinds import recipe_types
from snellen.words import kind_of

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

STUDIES = ShippedFiles(
    "study",
    "snellen.study",
    ("transfer-a-to-e", "transfer-lite", "transfer-masks", "label-efficiency", "recipes"),
    "Built in",
)


def load_study(source: str | Path | Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> StudySpec:
    """A study by its built-in name, from a YAML file, or from a dictionary of its fields.

    overrides: values by dotted key, {"seeds": [0, 1], "changes.epochs": 5}; they win over the file.
    Raises UserError that names the file and the key for anything invalid.
    """
    if not isinstance(source, str | Path | Mapping):
        raise UserError(f"study: expected a name, a YAML file or a dictionary of fields, got {kind_of(source)}.")
    if isinstance(source, Mapping):
        label, fields = "study", dict(source)
    else:
        text, label = STUDIES.read(source)
        fields = parse_yaml(text, label)
    return validate(StudySpec, apply_overrides(fields, overrides or {}), label, _explain)


def _explain(detail: ErrorDetails) -> str:
    """As for a recipe; if a study is given a field of a recipe, points to `changes`."""
    if detail["type"] == "extra_forbidden" and not nearest_fields(StudySpec, [str(part) for part in detail["loc"]]):
        key = ".".join(str(part) for part in detail["loc"])
        if close := [name for model in recipe_types() for name in nearest_fields(model, key.split("."))]:
            return f"{key}: no field of a study. For all recipes in it: changes.{close[0]}={detail['input']}"
    return explain(detail, StudySpec)
