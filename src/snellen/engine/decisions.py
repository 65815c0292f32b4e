"""Modes chosen earlier on this machine, kept in the user's cache folder: one small file per choice.

If a file is damaged or the folder cannot be written, the next run simply measures again. Files are written whole, so
processes that choose at the same time do not interfere with each other.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from snellen.data.fingerprint import text_hash
from snellen.errors import UserError
from snellen.files import write_json

_FIELDS = {"precision": str, "channels_last": bool, "compiled": bool, "unfolded": bool}


def cache_folder() -> Path:
    """SNELLEN_CACHE, or snellen in the user's cache folder (XDG_CACHE_HOME, ~/Library/Caches on macOS, ~/.cache)."""
    own_folder = os.environ.get("SNELLEN_CACHE")
    if own_folder:
        return Path(own_folder)
    caches = os.environ.get("XDG_CACHE_HOME")
    if caches:
        return Path(caches) / "snellen"
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "snellen"


def read(key: Mapping[str, Any]) -> dict[str, Any] | None:
    """The fields of the mode chosen for `key`; None if there is none or its file is damaged."""
    try:
        entry = json.loads(_file(key).read_text(encoding="utf-8"))
        mode = entry["mode"]
        is_sound = entry["key"] == key and mode.keys() == _FIELDS.keys()
        if is_sound and all(isinstance(mode[name], kind) for name, kind in _FIELDS.items()):
            return dict(mode) if mode["precision"] in {"fp32", "bf16"} else None
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError):
        pass  # RuntimeError: there is no home folder
    return None


def write(key: Mapping[str, Any], mode: Mapping[str, Any], timings: Sequence[Mapping[str, Any]]) -> None:
    """Saves a choice with the measurements behind it."""
    with contextlib.suppress(OSError, RuntimeError, UserError):  # nothing depends on it
        write_json(_file(key), {"key": dict(key), "mode": dict(mode), "measured": list(timings)})


def _file(key: Mapping[str, Any]) -> Path:
    return cache_folder() / "modes" / f"{text_hash(json.dumps(key, sort_keys=True))[:24]}.json"
