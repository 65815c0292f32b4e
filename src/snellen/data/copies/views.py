"""The views of a picture that a copy of it may show: flipped, turned, cropped, rotated."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from snellen.data.copies.small import CENTRE, SIDE, WHOLE

WINDOW = 0.8  # side of a cropped view, as a share of the picture's
_OFFSETS = (-0.2, -0.1, 0.0, 0.1, 0.2)  # of its centre, in half sides
_ORIENTATIONS = {
    "same view": (1, 0, 0, 1),
    "mirrored": (-1, 0, 0, 1),
    "upside down, mirrored": (1, 0, 0, -1),
    "turned by 180°": (-1, 0, 0, -1),
    "turned by 90°, mirrored": (0, 1, 1, 0),
    "turned by 90°": (0, 1, -1, 0),
    "turned by 270°": (0, -1, 1, 0),
    "turned by 270°, mirrored": (0, -1, -1, 0),
}
_LEAST_ANGLE = 5.0  # degrees; half the angle between two views
_LEAST_CROP = 0.04  # of the scale or the position, in half sides
_ANGLES = (-40, -30, -20, -10, 10, 20, 30, 40)


@dataclass(frozen=True)
class View:
    """picture: WHOLE or CENTRE. matrix: (2, 3) float64, from a point of the view to that of the picture.

    Points are (x, y) in [-1, 1].
    """

    picture: int
    matrix: NDArray[np.float64]


@cache
def views() -> tuple[View, ...]:
    """All of them: eight orientations, 25 windows, 16 rotations of the central square at two scales."""
    result = [View(WHOLE, np.array([[a, b, 0.0], [c, d, 0.0]])) for a, b, c, d in _ORIENTATIONS.values()]
    for x, y in product(_OFFSETS, _OFFSETS):
        result.append(View(WHOLE, np.array([[WINDOW, 0.0, x], [0.0, WINDOW, y]])))
    for angle in _ANGLES:
        cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        rotation = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0]])
        # The second scale is that of an image, square to 4:3, rotated on a canvas enlarged to hold it.
        result += [View(CENTRE, rotation * scale) for scale in (1.0, 1 / (cosine + 1.15 * abs(sine)))]
    return tuple(result)


def describe_copy(picture: int, matrix: NDArray[np.float32]) -> str:
    """What was done to an image, in words, from the alignment of a copy with it.

    matrix: (2, 3), as in View, by which they are aligned. The view from which the alignment started says nothing: from
    a rotated one it also finds the position and scale of a crop.
    """
    linear, shift = matrix[:, :2], matrix[:, 2]
    if picture == CENTRE and abs(np.degrees(np.arctan2(linear[1, 0], linear[0, 0]))) >= _LEAST_ANGLE:
        return "rotated"
    orientation = linear if picture == WHOLE else np.eye(2)
    words = next(name for name, signs in _ORIENTATIONS.items() if (np.sign(orientation.round()).ravel() == signs).all())
    scales = np.linalg.norm(linear, axis=0)
    if max(np.abs(np.log(scales)).max(), np.abs(shift).max()) < _LEAST_CROP:
        return words
    return "cropped" if words == "same view" else f"{words}, cropped"


@cache
def grid(side: int = SIDE) -> NDArray[np.float32]:
    """(3, side²) float32: x, y and 1 of the pixels' centres."""
    centres = (2 * np.arange(side) + 1) / side - 1
    x, y = np.meshgrid(centres, centres)
    return np.stack([x.ravel(), y.ravel(), np.ones(side * side)]).astype(np.float32)


@cache
def weights(picture: int, side: int = SIDE) -> NDArray[np.float32]:
    """(side²,) float32 in [0, 1]: the part of a picture that is compared.

    Of CENTRE the circle that fits the square, falling to 0 at its edge: a rotation leaves it complete.
    """
    x, y, _ = grid(side)
    return np.asarray(np.clip((1 - np.hypot(x, y)) / 0.2, 0, 1) if picture == CENTRE else np.ones_like(x))
