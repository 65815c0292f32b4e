"""From a recipe's name or file, and the command line's overrides, to a validated Recipe."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from snellen.errors import UserError
from snellen.recipe.fields import nearest_fields, specs_at
from snellen.recipe.text import parse_yaml, shipped_names, shipped_text
from snellen.recipe.wording import in_own_words
from snellen.spec import Spec
from snellen.words import did_you_mean, kind_of

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

RecipeSource: TypeAlias = str | Path | Mapping[str, Any] | Spec
AnySpec = TypeVar("AnySpec", bound=Spec)

# Among the keys pydantic puts which kind of value it tried, as in literal['balanced'] or dict[str,float].
_TRIED_KIND = re.compile(r"(literal|dict|tuple)\[.*\]$")
_MAIN_FIELDS = ("backbone", "architecture", "name", "source")  # what a part is called by, as in model=resnet18


def load_as(model: type[AnySpec], source: RecipeSource, overrides: Mapping[str, Any] | None = None) -> AnySpec:
    """A recipe of a known type: by its shipped name, from a YAML file, from its fields, or another recipe, changed.

    overrides: values by dotted key, {"optimizer.lr": 0.01}; they win over the file.
    Raises UserError that names the file and the key for anything that does not fit.
    """
    fields, label = read_fields(source)
    return validate(model, apply_overrides(fields, overrides or {}), label)


def read_fields(source: RecipeSource) -> tuple[dict[str, Any], str]:
    """A recipe's fields as they are written, not yet validated, and what to call it in messages."""
    if isinstance(source, Mapping):
        return dict(source), "recipe"
    if isinstance(source, BaseModel):
        return source.model_dump(mode="json"), "recipe"
    if not isinstance(source, str | Path):
        raise UserError(f"recipe: wanted a name, a YAML file or a dictionary of fields, got {kind_of(source)}.")
    label, text = _read(source)
    return parse_yaml(text, label), label


def with_data_overrides(recipe: AnySpec, overrides: Mapping[str, Any] | None, command: str) -> AnySpec:
    """A run's recipe with other data.* fields, for a `command` on other images. Raises UserError for other fields."""
    if not overrides:
        return recipe
    for key in overrides:
        if not key.startswith("data."):
            raise UserError(
                f"{key}: {command} takes only data.… (how images and labels are found and read), such as "
                "data.unreadable=skip; everything else is as the run was trained."
            )
    return validate(type(recipe), apply_overrides(recipe.model_dump(mode="json"), overrides), command)


def read_resolved(path: Path, model: type[AnySpec]) -> AnySpec:
    """The resolved recipe that a run directory holds. Raises UserError where it is not of this type."""
    fields, label = resolved_fields(path)
    return validate(model, fields, label)


def resolved_fields(path: Path) -> tuple[dict[str, Any], str]:
    """The fields of the recipe that a run directory holds, and what to call it in messages."""
    label = f"recipe '{path}'"
    return parse_yaml(path.read_text(encoding="utf-8"), label), label


def validate(model: type[AnySpec], fields: Mapping[str, Any], label: str) -> AnySpec:
    """Fields as a recipe. Raises UserError with one line for each field that is wrong."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        lines = list(dict.fromkeys(explain(detail, model) for detail in error.errors(include_url=False)))
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


def dotted(
    overrides: Mapping[str, Any] | None, keywords: Mapping[str, Any], models: Sequence[type[BaseModel]]
) -> dict[str, Any]:
    """Fields that a caller of Python gave, by dotted key: `overrides`, and over them keywords.

    A keyword may be a field (epochs=3), a part of a recipe with some of its fields (model={"backbone": "resnet18"}), or
    have a dotted key by itself (**{"model.backbone": "resnet18"}). models: the types that may have these fields. Raises
    UserError where overrides are no dictionary.
    """
    if overrides is not None and not isinstance(overrides, Mapping):
        raise UserError(f"overrides: wanted a dictionary such as {{'epochs': 5}}, got {kind_of(overrides)}.")
    return dict(_flat(overrides or {}, "", [])) | dict(_flat(keywords, "", models))


def _flat(fields: Mapping[str, Any], prefix: str, kinds: Sequence[type[BaseModel]]) -> Iterator[tuple[str, Any]]:
    """Parts of a recipe by their fields; a dictionary that is a value, or names the kind of its part, stays whole."""
    for key, value in fields.items():
        name = f"{prefix}{key}"
        parts = [spec for kind in kinds for spec in specs_at(kind, key)]
        is_part = key == "changes" or any(len(specs_at(kind, key)) == 1 for kind in kinds)
        if isinstance(value, Mapping) and (is_part or (parts and "name" not in value)):
            yield from _flat(value, f"{name}.", kinds if key == "changes" else parts)
        else:
            yield name, plain(value)


def plain(value: object) -> object:
    """A value of Python as YAML would have it: a path as text, a number of numpy's as a number."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return value.tolist()
    return value


def dump(recipe: Spec) -> str:
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
        hint = did_you_mean(str(source), names)
        raise UserError(f"recipe '{source}': no such recipe.{hint} Shipped: {', '.join(names)}; or give a .yaml file.")
    return f"recipe '{source}'", shipped_text(str(source))


def explain(detail: ErrorDetails, model: type[BaseModel]) -> str:
    """What is wrong with a field and what would be right, from what pydantic says of it."""
    location = [str(part) for part in detail["loc"] if not _TRIED_KIND.match(str(part))]
    key = ".".join(_without_tags(model, location)) or "as a whole"
    if detail["type"] == "extra_forbidden":
        fields = _fields_at(model, location[:-1])
        close = nearest_fields(model, _without_tags(model, location))
        hint = f"Did you mean {' or '.join(map(repr, close))}?" if close else f"Known: {', '.join(fields)}."
        return f"{key}: no such field. {hint}"
    if detail["type"] in {"model_type", "model_attributes_type"}:
        return f"{key}: it has fields of its own. {_in_parts(model, location, detail['input'])}"
    if detail["type"] == "literal_error":
        expected = str(detail.get("ctx", {}).get("expected", ""))
        choices = [choice.strip(" '") for choice in expected.replace(" or ", ", ").split(",")]
        return f"{key}: {not_one_of(str(detail['input']), choices)}"
    if detail["type"] == "union_tag_invalid":
        context = detail.get("ctx", {})
        choices = [choice.strip(" '") for choice in str(context.get("expected_tags", "")).split(",")]
        return f"{key}.name: {not_one_of(str(context.get('tag')), choices)}"
    message = in_own_words(detail)
    given = "" if detail["type"] == "value_error" and not location else f" (given: {detail['input']!r:.80})"
    return f"{key}: {message[0].lower()}{message[1:]}{given}"


def _in_parts(model: type[BaseModel], location: Sequence[str], given: object) -> str:
    """How a single value that was given for a part of a recipe is written instead."""
    key, fields = ".".join(location), _fields_at(model, location)
    main = next((name for name in _MAIN_FIELDS if name in fields), None)
    if main is not None and isinstance(given, str):
        return f"Write {key}.{main}={given}"
    return f"Write {key}.FIELD=VALUE, with one of: {', '.join(fields)}."


def _fields_at(model: type[BaseModel], location: Sequence[str]) -> list[str]:
    """Names of the fields of the part that `location` leads to."""
    current, tagged = model, dict[str, type[BaseModel]]()
    for part in location:
        if part.isdecimal():  # one of a list
            continue
        specs = specs_at(current, part)
        if part in tagged:
            specs = [tagged[part]]
        elif not specs:
            return []
        tagged = {spec.model_fields["name"].default: spec for spec in specs if len(specs) > 1}
        current = specs[0]
    return list(current.model_fields)


def not_one_of(given: str, choices: Sequence[str]) -> str:
    """That a value is none of the known ones, with the nearest of them."""
    *others, last = (f"'{choice}'" for choice in choices)
    known = f"{', '.join(others)} or {last}" if others else last
    return f"'{given}' is not one of {known}.{did_you_mean(given, choices, cutoff=0.5)}"


def _without_tags(model: type[BaseModel], location: Sequence[str]) -> list[str]:
    """The keys as a person writes them: pydantic puts the name of the chosen kind between a part and its field."""
    if len(location) > 1 and len(specs_at(model, location[0])) > 1:
        return [location[0], *location[2:]]
    return list(location)
