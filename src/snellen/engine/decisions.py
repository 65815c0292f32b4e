"""Modes chosen earlier on this machine, kept in the user's cache folder: one small file per choice.

If a file is damaged or the folder cannot be written, the next run simply measures again. Files are written whole, so
processes that choose at the same time do not interfere with each other.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from snellen.data.fingerprint import text_hash
from snellen.engine.mode import Mode, ModeTiming
from snellen.errors import UserError
from snellen.files import cache_folder, from_json, write_json


@dataclass(frozen=True)
class Decision:
    """The mode chosen for a key, and the timings behind it."""

    key: dict[str, Any]
    mode: Mode
    measured: list[Any]


def mode_folder() -> Path:
    """Where the choices are kept."""
    return cache_folder() / "modes"


def read(key: Mapping[str, Any]) -> Mode | None:
    """The mode chosen for `key`; None if there is none or its file is damaged."""
    with contextlib.suppress(OSError, RuntimeError, ValueError):  # RuntimeError: there is no home folder
        decision = from_json(Decision, _file(key).read_text(encoding="utf-8"))
        return decision.mode if decision.key == key else None
    return None


def write(key: Mapping[str, Any], mode: Mode, timings: Sequence[ModeTiming]) -> None:
    """Saves a choice with the measurements behind it."""
    decision = Decision(dict(key), mode, [entry.as_dict() for entry in timings])
    with contextlib.suppress(OSError, RuntimeError, UserError):  # nothing depends on it
        write_json(_file(key), asdict(decision))


def _file(key: Mapping[str, Any]) -> Path:
    return mode_folder() / f"{text_hash(json.dumps(key, sort_keys=True))[:24]}.json"
