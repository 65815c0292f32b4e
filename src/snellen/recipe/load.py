"""From a recipe's name or file, and the command line's overrides, to a validated Recipe."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import BaseModel, ValidationError

from snellen.errors import UserError
from snellen.recipe.text import parse_yaml, shipped_names, shipped_text

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from snellen.recipe.schema import Recipe


def load_recipe(source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> Recipe:
    """A recipe by its shipped name, from a YAML file, or from a dictionary of its fields.

    overrides: 'dotted.key=value', the value in YAML; they win over the file, the last one wins over the others.
    Raises UserError that names the file and the key for anything that does not fit.
    """
    if isinstance(source, Mapping):
        label, fields = "recipe", dict(source)
    else:
        label, text = _read(source)
        fields = parse_yaml(text, label)
    return validate(apply_overrides(fields, overrides), label)


def read_resolved(path: Path) -> Recipe:
    """The resolved recipe that a run directory holds."""
    label = f"recipe '{path}'"
    return validate(parse_yaml(path.read_text(encoding="utf-8"), label), label)


def validate(fields: Mapping[str, Any], label: str) -> Recipe:
    """Fields as a Recipe. Raises UserError with one line for each field that does not fit."""
    from snellen.recipe.schema import Recipe

    try:
        return Recipe.model_validate(fields)
    except ValidationError as error:
        lines = list(dict.fromkeys(_explain(detail, Recipe) for detail in error.errors(include_url=False)))
        raise UserError("\n".join(f"{label}, {line}" for line in lines)) from None


def apply_overrides(fields: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """A copy of nested fields with 'dotted.key=value' set, in order. Raises UserError for a malformed override."""
    result = _copied(fields)
    for override in overrides:
        key, separator, text = override.partition("=")
        parts = key.strip().split(".")
        if not separator or not all(parts):
            raise UserError(f"override '{override}': wanted key=value, as in optimizer.lr=0.01")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise UserError(f"override '{override}': the value is no valid YAML; quote it if it is text") from None
        target = result
        for part in parts[:-1]:
            inner = target.get(part)
            if inner is not None and not isinstance(inner, dict):
                raise UserError(f"override '{override}': '{part}' is a single value, it has no parts")
            if inner is None:
                target[part] = {}
            target = target[part]
        target[parts[-1]] = value
    return result


def dump(recipe: Recipe) -> str:
    """A recipe as YAML with every field written out; `read_resolved` gives the same recipe back."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _copied(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copied(value) if isinstance(value, Mapping) else value for key, value in fields.items()}


def _read(source: str | Path) -> tuple[str, str]:
    path = Path(source)
    if path.suffix in {".yaml", ".yml"}:
        if not path.is_file():
            raise UserError(f"recipe '{source}': no such file.")
        try:
            return f"recipe '{source}'", path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise UserError(f"recipe '{source}': not a text file in UTF-8.") from None
    names = shipped_names()
    if str(source) not in names:
        close = difflib.get_close_matches(str(source), names, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        raise UserError(f"recipe '{source}': no such recipe.{hint} Shipped: {', '.join(names)}; or give a .yaml file.")
    return f"recipe '{source}'", shipped_text(str(source))


def _explain(detail: ErrorDetails, model: type[BaseModel]) -> str:
    location = [str(part) for part in detail["loc"]]
    key = ".".join(location) or "as a whole"
    if detail["type"] == "extra_forbidden":
        fields = _fields_at(model, location[:-1])
        close = difflib.get_close_matches(location[-1], fields, n=1, cutoff=0.5)
        hint = f"Did you mean '{close[0]}'?" if close else f"Known: {', '.join(fields)}."
        return f"{key}: no such field. {hint}"
    if detail["type"] == "literal_error":
        expected = str(detail.get("ctx", {}).get("expected", ""))
        choices = [choice.strip(" '") for choice in expected.replace(" or ", ", ").split(",")]
        close = difflib.get_close_matches(str(detail["input"]), choices, n=1, cutoff=0.5)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        return f"{key}: '{detail['input']}' is not one of {expected}.{hint}"
    message = detail["msg"].removeprefix("Value error, ")
    given = "" if detail["type"] == "value_error" and not location else f" (given: {detail['input']!r:.80})"
    return f"{key}: {message[0].lower()}{message[1:]}{given}"


def _fields_at(model: type[BaseModel], location: Sequence[str]) -> list[str]:
    """Names of the fields of the part that `location` leads to."""
    current = model
    for part in location:
        field = current.model_fields.get(part)
        if field is None:
            return []
        parts = [field.annotation, *getattr(field.annotation, "__args__", ())]
        specs = [kind for kind in parts if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not specs:
            return []
        current = specs[0]
    return list(current.model_fields)

