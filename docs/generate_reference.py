"""Writes docs/recipe-reference.md from the descriptions of the recipe's fields: python docs/generate_reference.py"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from snellen.recipe.schema import Recipe

PAGE = Path(__file__).with_name("recipe-reference.md")
_INTRODUCTION = """# Every field of a recipe

A recipe is a YAML file; what it leaves out has the default below. On the command line, any field is set by its dotted
name: `snellen train vgg13-scratch photos/ optimizer.lr=0.01 epochs=20`. This page is made from the code by
`python docs/generate_reference.py`.
"""


def reference() -> str:
    """The page as Markdown text."""
    return _INTRODUCTION + "".join(_section("recipe", Recipe, ""))


def _section(title: str, spec: type[BaseModel], prefix: str) -> Iterator[str]:
    yield f"\n## {title}\n\n"
    if spec.__doc__ and prefix:
        yield " ".join(spec.__doc__.split()) + "\n\n"
    yield "| field | values | default | |\n| --- | --- | --- | --- |\n"
    parts = []
    for name, field in spec.model_fields.items():
        inner = _spec_of(field.annotation)
        if inner is not None:
            parts.append((f"{prefix}{name}", inner))
            continue
        default = field.get_default(call_default_factory=True, validated_data={})
        shown = "null" if default is None else str(list(default) if isinstance(default, tuple) else default).lower()
        values = _values(field).replace("|", "\\|")
        description = " ".join((field.description or "").split()).replace("|", "\\|")
        yield f"| `{prefix}{name}` | {values} | `{shown}` | {description} |\n"
    for name, inner in parts:
        yield from _section(name, inner, f"{name}.")


def _spec_of(annotation: Any) -> type[BaseModel] | None:
    for kind in (annotation, *typing.get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


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
                return f"list of {of(arguments[0])}s"
            return f"{len(arguments)} numbers"
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
