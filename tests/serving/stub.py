"""A network without weights, for what is around it: the shares of red, green and blue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snellen.tasks.served import Answer, Explanation, IsWanted, Served

CLASSES = ["red", "green", "blue"]


def answers(images: Sequence[NDArray[np.uint8]], is_wanted: IsWanted) -> list[Answer]:
    return [_answer(image) for image in images]


def _answer(image: NDArray[np.uint8]) -> Answer:
    means = image.reshape(-1, 3).mean(0) + 1e-6
    shares = means / means.sum()
    return Answer({"classes": [{"name": CLASSES[i], "probability": float(shares[i])} for i in np.argsort(-shares)]})


def explain(image: NDArray[np.uint8], name: str | None) -> Explanation:
    heat = np.zeros(image.shape[:2], np.float32)
    return Explanation(name or CLASSES[0], "a layer", heat.size, image, heat, None)


def stub(**changes: Any) -> Served:
    """It, with other fields."""
    fields: dict[str, Any] = {
        "title": "colours",
        "classes": CLASSES,
        "measure": "probability",
        "calibration": "uncalibrated",
        "top": 5,
        "schema": {"name": {"type": "string"}, "probability": {"type": "number"}},
        "read": lambda image: image,
        "answers": answers,
        "most_together": 4,
        "at_once": 1,
        "explain": explain,
    }
    return Served(**fields | changes)
