"""The precision and layout that the tests train in: plain fp32, or what `pytest --mode=…` says. Nothing is measured.

HARDWARE is a recipe's section with that MODE, KEYS the same with dotted keys, ARGUMENTS what the command line takes.
"""

from __future__ import annotations

import os
from typing import Any

from snellen.engine.mode import NAMED_MODES

MODE = NAMED_MODES[os.environ.get("SNELLEN_MODE", "fp32")]
HARDWARE: dict[str, Any] = {
    "device": "cpu",
    "precision": MODE.precision,
    "channels_last": MODE.channels_last,
    "compile": MODE.compiled,
    "unfold": MODE.unfolded,
    "threads": 1,
}
FP32 = HARDWARE | {"precision": "fp32"}  # for figures that are computed again, in fp32
KEYS: dict[str, Any] = {f"hardware.{key}": value for key, value in HARDWARE.items()}
ARGUMENTS = [f"{key}={str(value).lower()}" for key, value in KEYS.items()]
