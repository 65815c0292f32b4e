"""Which fields of a recipe change a result, and which change how long a step takes: the one place that says so."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from snellen.data.fingerprint import text_hash
from snellen.recipe.load import apply_overrides

# By dotted key, with the value that stands for all. Arithmetic is compared as it was measured, not as asked for.
_NO_RESULT: dict[str, Any] = {"name": "", "data.cache_mib": 0, "hardware": {}}
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
}
# What two runs may differ in without anybody being told: a budget is told by its epochs, a mode by what was measured.
_UNTOLD = ("name", "data.cache_mib", "budget", "hardware.threads", "hardware.remeasure")
_MODE = ("hardware.precision", "hardware.channels_last", "hardware.compile", "hardware.unfold")


def result_key(fields: Mapping[str, Any], *more: str) -> str:
    """A hash that is the same for recipes with the same result. fields: of a recipe. more: what else decides it."""
    return _hash([apply_overrides(fields, _NO_RESULT), *more])


def step_key(fields: Mapping[str, Any]) -> str:
    """A hash that is the same for recipes whose steps take the same time."""
    return _hash(apply_overrides(fields, _NO_STEP))


def is_told(key: str) -> bool:
    """Whether a report lists a field, by its dotted key, among what differs between two runs."""
    return key not in _UNTOLD + _MODE


def _hash(value: object) -> str:
    return text_hash(json.dumps(value, sort_keys=True))[:12]
