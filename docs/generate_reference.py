"""Writes docs/recipe-reference.md from the descriptions of the recipe's fields: python docs/generate_reference.py"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from snellen.data.sources import DataSpec
from snellen.tasks.classification.recipe import Recipe
from snellen.tasks.pretraining.recipe import PretrainingRecipe
from snellen.tasks.segmentation.recipe import SegmentationRecipe

PAGE = Path(__file__).with_name("recipe-reference.md")
_INTRODUCTION = """# Every field of a recipe

A recipe is a YAML file; what it leaves out has the default below. On the command line, any field is set by its dotted
name: `snellen train vgg13-scratch photos/ optimizer.lr=0.01 epochs=20`. This page is made from the code by
`python docs/generate_reference.py`.
"""


def reference() -> str:
    """The page as Markdown text."""
    documented: set[type[BaseModel]] = set()
    kinds = [
        *_section("recipes of `snellen train`", Recipe, "", documented),
        *_section("recipes of `snellen pretrain`", PretrainingRecipe, "", documented),
        *_section("recipes of `snellen train` for masks", SegmentationRecipe, "", documented),
    ]
    return _INTRODUCTION + "".join(kinds)


def _section(title: str, spec: type[BaseModel], prefix: str, documented: set[type[BaseModel]]) -> Iterator[str]:
    """A table of the fields of `spec`, then its parts, each kind of part once on the page."""
    documented.add(spec)
    yield f"\n## {title}\n\n"
    if spec.__doc__:
        yield " ".join(spec.__doc__.split()) + "\n\n"
    yield "| field | values | default | |\n| --- | --- | --- | --- |\n"
    parts = []
    for name, field in spec.model_fields.items():
        inner = _specs_of(field.annotation)
        if inner:
            parts += [(f"{prefix}{name}", inner_spec, len(inner) > 1) for inner_spec in inner]
            continue
        values = _values(field).replace("|", "\\|")
        description = " ".join((field.description or "").split()).replace("|", "\\|")
        yield f"| `{prefix}{name}` | {values} | {_default(field)} | {description} |\n"
    above = [f"`{name}`{_alias(part, name)}" for name, part, _ in parts if part in documented]
    if above:
        yield f"\nAs above: {', '.join(above)}.\n"
    for name, part, one_of_several in parts:
        title = f"{name}: {part.model_fields['name'].default}" if one_of_several else name
        if part not in documented:
            yield from _section(title, part, f"{name}.", documented)


def _alias(part: type[BaseModel], name: str) -> str:
    """The name under which a part is documented above, if it differs."""
    return " (as `data`)" if name == "labelled" and part is DataSpec else ""


def _specs_of(annotation: Any) -> list[type[BaseModel]]:
    """The specs that a field may hold: one, or several distinguished by their names."""
    kinds = (annotation, *typing.get_args(annotation))
    return [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "must be given"
    default = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(default, dict):
        return f"`{{{', '.join(f'{key}: {value:g}' for key, value in default.items())}}}`"
    return "`null`" if default is None else f"`{list(default) if isinstance(default, tuple) else default}`".lower()


def _values(field: FieldInfo) -> str:
    names = {int: "whole number", float: "number", str: "text", bool: "true, false", type(None): "null"}
    bounds = {"Ge": "at least", "Gt": "above", "Le": "at most", "Lt": "below"}

    def of(annotation: Any) -> str:
        origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
        if origin is Literal:
            return ", ".join(f"`{value}`" for value in arguments)
        if origin in {typing.Union, types.UnionType}:
            return " or ".join(of(argument) for argument in arguments)
        if origin is tuple:
            if arguments[-1] is Ellipsis:
                inner = of(arguments[0])
                return f"list of {inner}" if inner.startswith("`") else f"list of {inner}s"
            return f"{len(arguments)} numbers"
        if origin is dict:
            return f"{of(arguments[1])}s by name" + (f": {of(arguments[0])}" if arguments[0] is not str else "")
        if origin is typing.Annotated:
            return of(arguments[0])
        return names.get(annotation, str(annotation))

    limits = []
    for rule in field.metadata:
        kind = type(rule).__name__
        if kind in bounds:
            limits.append(f"{bounds[kind]} {getattr(rule, kind.lower()):g}")
    return ", ".join([of(field.annotation), *limits])


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
