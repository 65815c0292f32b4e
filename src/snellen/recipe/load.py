"""From a recipe's name or file, and the command line's overrides, to a validated Recipe."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from snellen.errors import UserError
from snellen.recipe.fields import nearest_fields, specs_at
from snellen.recipe.text import RECIPES, parse_yaml, read_yaml, yaml_value
from snellen.recipe.wording import reworded
from snellen.spec import Spec
from snellen.words import did_you_mean, kind_of

RecipeSource: TypeAlias = str | Path | Mapping[str, Any] | Spec
AnySpec = TypeVar("AnySpec", bound=Spec)

# pydantic inserts the type that it tried among the keys, as in literal['balanced'] or dict[str,float].
_TRIED_TYPE = re.compile(r"(literal|dict|tuple)\[.*\]$")
# The field that a single value is meant for, as in model=resnet18.
_MAIN_FIELDS = ("backbone", "architecture", "name", "source")


def load_as(model: type[AnySpec], source: RecipeSource, overrides: Mapping[str, Any] | None = None) -> AnySpec:
    """A recipe of a known type: by its shipped name, from a YAML file, from its fields, or another recipe, changed.

    overrides: values by dotted key, {"optimizer.lr": 0.01}; they win over the file.
    Raises UserError that names the file and the key for anything that does not fit.
    """
    fields, label = read_fields(source)
    return validate(model, apply_overrides(fields, overrides or {}), label)


def read_fields(source: RecipeSource) -> tuple[dict[str, Any], str]:
    """A recipe's fields as written, not yet validated, and its name for messages."""
    if isinstance(source, Mapping):
        return dict(source), "recipe"
    if isinstance(source, BaseModel):
        return source.model_dump(mode="json"), "recipe"
    if not isinstance(source, str | Path):
        raise UserError(f"recipe: expected a name, a YAML file or a dictionary of fields, got {kind_of(source)}.")
    text, label = RECIPES.read(source)
    return parse_yaml(text, label), label


def with_data_overrides(recipe: AnySpec, overrides: Mapping[str, Any] | None, command: str) -> AnySpec:
    """A run's recipe with other data.* fields, for a `command` on other images. Raises UserError for other fields."""
    if not overrides:
        return recipe
    for key in overrides:
        if not key.startswith("data."):
            raise UserError(
                f"{key}: {command} takes only data.… (how images and labels are found and read), such as "
                "data.unreadable=skip; everything else is as in training."
            )
    return validate(type(recipe), apply_overrides(recipe.model_dump(mode="json"), overrides), command)


def read_resolved(path: Path, model: type[AnySpec]) -> AnySpec:
    """The resolved recipe that a run directory holds. Raises UserError if it is not of this type."""
    fields, label = resolved_fields(path)
    return validate(model, fields, label)


def resolved_fields(path: Path) -> tuple[dict[str, Any], str]:
    """The fields of the recipe that a run directory holds, and its name for messages."""
    label = f"recipe '{path}'"
    return parse_yaml(read_yaml(path, label), label), label


def validate(
    model: type[AnySpec], fields: Mapping[str, Any], label: str, words: Callable[[ErrorDetails], str] | None = None
) -> AnySpec:
    """Fields as a recipe. Raises UserError with one line for each field that is wrong. words: for it, as `explain`."""
    words = words or partial(explain, model=model)
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        lines = list(dict.fromkeys(words(detail) for detail in error.errors(include_url=False)))
        raise UserError("\n".join(f"{label}, {line}" for line in lines)) from None


def parse_overrides(arguments: Iterable[str]) -> dict[str, Any]:
    """'dotted.key=value' arguments, values in YAML, by key; the last one wins. Raises UserError for any other text."""
    overrides = {}
    for argument in arguments:
        key, separator, text = argument.partition("=")
        if not separator or not all(key.strip().split(".")):
            raise UserError(f"override '{argument}': expected key=value, as in optimizer.lr=0.01")
        try:
            overrides[key.strip()] = yaml_value(text)
        except Exception:  # as in parse_yaml
            raise UserError(f"override '{argument}': the value is not valid YAML; quote it if it is text") from None
    return overrides


def apply_overrides(fields: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of nested fields with the values of dotted keys set. Raises UserError if a key leads into a value."""
    result = _deep_copy(fields)
    for key, value in overrides.items():
        *parents, last = key.split(".")
        target = result
        for part in parents:
            if target.get(part) is None:
                target[part] = {}
            target = target[part]
            if not isinstance(target, dict):
                raise UserError(f"override '{key}={value}': '{part}' is a single value without parts")
        target[last] = value
    return result


def dotted(
    overrides: Mapping[str, Any] | None, keywords: Mapping[str, Any], models: Sequence[type[BaseModel]]
) -> dict[str, Any]:
    """Fields passed from Python, by dotted key: `overrides`, and on top of them keywords.

    A keyword may be a field (epochs=3), a part of a recipe with some of its fields (model={"backbone": "resnet18"}), or
    a dotted key (**{"model.backbone": "resnet18"}). models: the types that may have these fields. Raises UserError if
    overrides are not a dictionary.
    """
    if overrides is not None and not isinstance(overrides, Mapping):
        raise UserError(f"overrides: expected a dictionary such as {{'epochs': 5}}, got {kind_of(overrides)}.")
    return dict(_flatten(overrides or {}, "", [])) | dict(_flatten(keywords, "", models))


def _flatten(fields: Mapping[str, Any], prefix: str, models: Sequence[type[BaseModel]]) -> Iterator[tuple[str, Any]]:
    """Fields by dotted key; a dictionary that is a value, or names the type of its part, stays a dictionary."""
    for key, value in fields.items():
        name = f"{prefix}{key}"
        parts = [spec for model in models for spec in specs_at(model, key)]
        is_part = key == "changes" or any(len(specs_at(model, key)) == 1 for model in models)
        if isinstance(value, Mapping) and (is_part or (parts and "name" not in value)):
            yield from _flatten(value, f"{name}.", models if key == "changes" else parts)
        else:
            yield name, plain(value)


def plain(value: object) -> object:
    """A Python value as YAML would read it: paths as text, numpy numbers as numbers."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return value.tolist()
    return value


def dump(recipe: Spec) -> str:
    """A recipe as YAML with every field written out; `read_resolved` gives the same recipe back."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _deep_copy(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _deep_copy(value) if isinstance(value, Mapping) else value for key, value in fields.items()}


def explain(detail: ErrorDetails, model: type[BaseModel]) -> str:
    """What is wrong with a field and what would be right, from an error of pydantic."""
    location = [str(part) for part in detail["loc"] if not _TRIED_TYPE.match(str(part))]
    key = ".".join(_without_tags(model, location)) or "as a whole"
    if detail["type"] == "extra_forbidden":
        fields = _fields_at(model, location[:-1])
        close = nearest_fields(model, _without_tags(model, location))
        hint = f"Did you mean {' or '.join(map(repr, close))}?" if close else f"Known: {', '.join(fields)}."
        return f"{key}: no such field. {hint}"
    if detail["type"] in {"model_type", "model_attributes_type"}:
        return f"{key}: it has fields of its own. {_as_field(model, location, detail['input'])}"
    if detail["type"] == "literal_error":
        expected = str(detail.get("ctx", {}).get("expected", ""))
        choices = [choice.strip(" '") for choice in expected.replace(" or ", ", ").split(",")]
        return f"{key}: {not_one_of(str(detail['input']), choices)}"
    if detail["type"] == "union_tag_invalid":
        context = detail.get("ctx", {})
        choices = [choice.strip(" '") for choice in str(context.get("expected_tags", "")).split(",")]
        return f"{key}.name: {not_one_of(str(context.get('tag')), choices)}"
    message = reworded(detail)
    got = "" if detail["type"] == "value_error" and not location else f" (got {detail['input']!r:.80})"
    return f"{key}: {message[0].lower()}{message[1:]}{got}"


def _as_field(model: type[BaseModel], location: Sequence[str], value: object) -> str:
    """How to write a single value that was passed for a whole part of a recipe."""
    key, fields = ".".join(location), _fields_at(model, location)
    main = next((name for name in _MAIN_FIELDS if name in fields), None)
    if main is not None and isinstance(value, str):
        return f"Write {key}.{main}={value}"
    return f"Write {key}.FIELD=VALUE, with one of: {', '.join(fields)}."


def _fields_at(model: type[BaseModel], location: Sequence[str]) -> list[str]:
    """Names of the fields of the part at `location`."""
    current, tagged = model, dict[str, type[BaseModel]]()
    for part in location:
        if part.isdecimal():  # an element of a list
            continue
        specs = specs_at(current, part)
        if part in tagged:
            specs = [tagged[part]]
        elif not specs:
            return []
        tagged = {spec.model_fields["name"].default: spec for spec in specs if len(specs) > 1}
        current = specs[0]
    return list(current.model_fields)


def not_one_of(value: str, choices: Sequence[str]) -> str:
    """Says that a value is not one of the choices, with the most similar one."""
    *others, last = (f"'{choice}'" for choice in choices)
    alternatives = f"{', '.join(others)} or {last}" if others else last
    return f"'{value}' is not one of {alternatives}.{did_you_mean(value, choices, cutoff=0.5)}"


def _without_tags(model: type[BaseModel], location: Sequence[str]) -> list[str]:
    """The keys as a person writes them: pydantic inserts the name of the chosen type between a part and its field."""
    if len(location) > 1 and len(specs_at(model, location[0])) > 1:
        return [location[0], *location[2:]]
    return list(location)
