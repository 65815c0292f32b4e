"""The fields in which recipes differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Difference:
    """field: its dotted key. values: one for each recipe, None if the field is not there."""

    field: str
    values: tuple[Any, ...]


def differences(recipes: Sequence[Mapping[str, Any]]) -> list[Difference]:
    """Fields that differ between recipes (nested dictionaries), in the order of the first recipe that has them."""
    flat = [flattened(recipe) for recipe in recipes]
    keys = dict.fromkeys(key for fields in flat for key in fields)
    rows = [Difference(key, tuple(fields.get(key) for fields in flat)) for key in keys]
    return [row for row in rows if any(value != row.values[0] for value in row.values)]


def flattened(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested fields as values by dotted key."""
    flat: dict[str, Any] = {}
    for key, value in fields.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
