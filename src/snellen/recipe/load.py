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


def load_recipe(source: str | Path | Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> Recipe:
    """A recipe by its shipped name, from a YAML file, or from a dictionary of its fields.

    overrides: values by dotted key, {"optimizer.lr": 0.01}; they win over the file.
    Raises UserError that names the file and the key for anything that does not fit.
    """
    if isinstance(source, Mapping):
        label, fields = "recipe", dict(source)
    else:
        label, text = _read(source)
        fields = parse_yaml(text, label)
    return validate(apply_overrides(fields, overrides or {}), label)


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


def parse_overrides(arguments: Iterable[str]) -> dict[str, Any]:
    """'dotted.key=value' arguments, values in YAML, by key; the last one wins. Raises UserError for any other text."""
    overrides = {}
    for argument in arguments:
        key, separator, text = argument.partition("=")
        if not separator or not all(key.strip().split(".")):
            raise UserError(f"override '{argument}': wanted key=value, as in optimizer.lr=0.01")
        try:
            overrides[key.strip()] = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, RecursionError):
            raise UserError(f"override '{argument}': the value is no valid YAML; quote it if it is text") from None
    return overrides


def apply_overrides(fields: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of nested fields with the values of dotted keys set. Raises UserError where a key leads nowhere."""
    result = _copied(fields)
    for key, value in overrides.items():
        *parents, last = key.split(".")
        target = result
        for part in parents:
            if target.get(part) is None:
                target[part] = {}
            target = target[part]
            if not isinstance(target, dict):
                raise UserError(f"override '{key}={value}': '{part}' is a single value, it has no parts")
        target[last] = value
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
