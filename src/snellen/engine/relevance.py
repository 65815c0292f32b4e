"""Which fields of a recipe affect a result, and which affect the time of a step: the only place that defines this."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from snellen.data.fingerprint import text_hash
from snellen.engine.recipe import CommonRecipe
from snellen.recipe.load import apply_overrides

# By dotted key, with a value that stands for all. Arithmetic is compared as measured, not as requested.
_NO_RESULT: dict[str, Any] = {"name": "", "data.cache_mib": 0, "data.disk_cache_mib": 0, "hardware": {}, "trackers": []}
_NO_STEP: dict[str, Any] = {
    "name": "",
    "seed": 0,
    "epochs": 1,
    "budget": None,
    "data": {},
    "loss": {},
    "schedule": {},
    "snapshots": {},
    "sweep": [],
    "model.weights": None,
    "model.cached": False,
    "optimizer.lr": 1.0,
    "trackers": [],
}
# Differences between two runs that reports do not list: a budget shows in the epochs, a mode in what was measured.
_UNLISTED = (
    "name",
    "data.cache_mib",
    "data.disk_cache_mib",
    "budget",
    "hardware.threads",
    "hardware.remeasure",
    "trackers",
)
_MODE = ("hardware.precision", "hardware.channels_last", "hardware.compile", "hardware.unfold")


def result_key(fields: Mapping[str, Any], *more: str) -> str:
    """A hash that is the same for recipes with the same result. fields: of a recipe. more: what else affects it."""
    return _hash([apply_overrides(fields, _NO_RESULT), *more])


def step_key(recipe: CommonRecipe) -> str:
    """A hash that is the same for recipes whose steps take the same time."""
    return _hash(apply_overrides(recipe.model_dump(mode="json"), _NO_STEP))


def network_key(recipe: CommonRecipe) -> str:
    """A hash that is the same for recipes with the same network on the same hardware, which share one mode."""
    model = recipe.model.model_dump(mode="json")
    name = {key: model[key] for key in ("backbone", "width", "architecture") if key in model}
    return _hash([name, recipe.hardware.model_dump(mode="json")])


def is_listed(key: str) -> bool:
    """Whether reports list a field, by its dotted key, among the differences between two runs."""
    return key not in _UNLISTED + _MODE


def _hash(value: object) -> str:
    return text_hash(json.dumps(value, sort_keys=True))[:12]
