"""From a study's name or file, and the command line's overrides, to a validated StudySpec."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from snellen.errors import UserError
from snellen.recipe.fields import nearest_fields
from snellen.recipe.load import apply_overrides, explain
from snellen.recipe.text import parse_yaml
from snellen.study.spec import StudySpec
from snellen.tasks.kinds import recipe_types
from snellen.words import did_you_mean, kind_of

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_ORDER = ["transfer-a-to-e", "transfer-lite", "transfer-masks", "label-efficiency", "recipes"]


def shipped_studies() -> list[str]:
    """Names of the built-in studies, in the order of the documentation."""
    names = {file.name.removesuffix(".yaml") for file in _folder().iterdir() if file.name.endswith(".yaml")}
    return sorted(names, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name))


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
        label, text = f"study '{source}'", _text(source)
        fields = parse_yaml(text, label)
    fields = apply_overrides(fields, overrides or {})
    try:
        return StudySpec.model_validate(fields)
    except ValidationError as error:
        lines = list(dict.fromkeys(_explain(detail) for detail in error.errors(include_url=False)))
        raise UserError("\n".join(f"{label}, {line}" for line in lines)) from None


def _explain(detail: ErrorDetails) -> str:
    """As for a recipe; if a study is given a field of a recipe, points to `changes`."""
    if detail["type"] == "extra_forbidden" and not nearest_fields(StudySpec, [str(part) for part in detail["loc"]]):
        key = ".".join(str(part) for part in detail["loc"])
        if close := [name for model in recipe_types() for name in nearest_fields(model, key.split("."))]:
            return f"{key}: no field of a study. For all recipes in it: changes.{close[0]}={detail['input']}"
    return explain(detail, StudySpec)


def _text(source: str | Path) -> str:
    path = Path(source)
    if path.suffix in {".yaml", ".yml"}:
        if not path.is_file():
            raise UserError(f"study '{source}': no such file.")
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise UserError(f"study '{source}': not a text file in UTF-8.") from None
    names = shipped_studies()
    if str(source) not in names:
        hint = did_you_mean(str(source), names)
        raise UserError(f"study '{source}': no such study.{hint} Built in: {', '.join(names)}; or give a .yaml file.")
    return (_folder() / f"{source}.yaml").read_text(encoding="utf-8")


def _folder() -> Traversable:
    return resources.files("snellen.study") / "shipped"
