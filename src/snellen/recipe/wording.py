"""pydantic's validation errors in the style of the other messages."""

from __future__ import annotations

from typing import Any

from pydantic_core import ErrorDetails

_WORDS = {
    "bool": "expected true or false",
    "date": "expected a date",
    "dict": "expected names and values, such as {cat: 1, dog: 2}",
    "finite": "expected a finite number",
    "float": "expected a number",
    "int": "expected a whole number",
    "list": "expected a list, such as 1,2",
    "mapping": "expected names and values, such as {cat: 1, dog: 2}",
    "string": "expected text",
    "tuple": "expected a list, such as 1,2",
}
_BOUNDS = {
    "greater_than": ("expected more than", "gt"),
    "greater_than_equal": ("expected at least", "ge"),
    "less_than": ("expected less than", "lt"),
    "less_than_equal": ("expected at most", "le"),
}


def reworded(detail: ErrorDetails) -> str:
    """What a valid value of the field would be."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        return f"{words} {context[key]:g}"
    if kind in {"too_short", "too_long", "string_too_short"}:
        return _length(kind, context)
    if kind == "missing":
        return "missing; it is required"
    if kind == "string_pattern_mismatch":
        return f"expected {_alternatives(str(context['pattern']))}"
    if kind == "union_tag_not_found":
        return "expected a name as well, as in name: …"
    first = kind.partition("_")[0]
    if first in {"list", "tuple"} and isinstance(detail["input"], dict):
        return "expected a list, in which '- ' begins each entry, instead of names and values"
    return _WORDS[first] if first in _WORDS else detail["msg"].removeprefix("Value error, ")


def _length(kind: str, context: dict[str, Any]) -> str:
    if kind == "string_too_short":
        return "expected non-empty text"
    limit = context["min_length"] if kind == "too_short" else context["max_length"]
    return f"expected at {'least' if kind == 'too_short' else 'most'} {limit} {'value' if limit == 1 else 'values'}"


def _alternatives(pattern: str) -> str:
    """The words of a pattern such as ^(auto|cpu|cuda(:\\d+)?)$."""
    alternatives = pattern.strip("^$").removeprefix("(").removesuffix(")").split("|")
    words = [word.replace(r"(:\d+)?", " (or cuda:1 …)") for word in alternatives]
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]
