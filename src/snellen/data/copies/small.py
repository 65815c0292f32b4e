"""Small grey pictures of images, by which copies are found."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 32  # px of the pictures that are searched
SIDES = (96, 64, SIDE)  # px of those that are compared
WHOLE, CENTRE = 0, 1  # the two pictures of an image
_MEMORY = 512 * 2**20  # bytes for the pictures of a set
_HIGHEST = 0.28  # frequency that is not damped much, in half periods per pixel
_FLAT = 2.0  # standard deviation, in grey levels, below which a picture shows nothing to recognise


def side_for(count: int, shorter: float) -> int:
    """The side of the pictures that are compared. count: images of the set. shorter: their usual shorter side in px."""
    return next((side for side in SIDES if 2 * count * side**2 <= _MEMORY and side <= shorter), SIDE)


def small_pictures(image: NDArray[np.uint8], side: int = SIDE) -> NDArray[np.uint8]:
    """(2, side, side) uint8: the whole image, scaled to a square, and its central square. image: (h, w, 3) uint8 RGB.

    A rotation leaves the proportions of the second alone, a crop those of the first.
    """
    grey = Image.fromarray(image).convert("L")
    shorter = min(grey.size)
    left, top = (grey.width - shorter) / 2, (grey.height - shorter) / 2
    boxes = ((0.0, 0.0, float(grey.width), float(grey.height)), (left, top, left + shorter, top + shorter))
    return np.stack([np.asarray(grey.resize((side, side), Image.Resampling.BILINEAR, box)) for box in boxes])


def reduced(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(n, 2, 32, 32) uint8: the means of blocks of pixels. pictures: (n, 2, S, S), S a multiple of 32."""
    count, _, side, _ = pictures.shape
    if side == SIDE:
        return pictures
    result = np.empty((count, 2, SIDE, SIDE), dtype=np.uint8)
    for start in range(0, count, 1024):
        blocks = pictures[start : start + 1024].reshape(-1, 2, SIDE, side // SIDE, SIDE, side // SIDE)
        result[start : start + 1024] = blocks.mean((3, 5)).round()
    return result


def smooth(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(n, S, S) float32: blurred by (1, 2, 1) / 4 in both directions, since copies differ in sharpness."""
    values: NDArray[np.float32] = pictures.astype(np.float32)
    for axis in (1, 2):
        padded = np.pad(values, [(0, 0), *((1, 1) if other == axis else (0, 0) for other in (1, 2))], mode="edge")
        size = values.shape[axis]
        before, after = (padded.take(range(start, start + size), axis) for start in (0, 2))
        values = (before + 2 * values + after) / np.float32(4)
    return values


def details(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(n, S, S) float32: each frequency times itself, with the highest ones damped.

    Natural images have amplitudes of 1 / frequency: without this, what two of them share by chance, a bright sky or a
    dark floor, outweighs all by which they differ (Field 1987).
    """
    side = pictures.shape[-1]
    waves, frequency = _cosines(side)
    strength = frequency * np.exp(-np.square(frequency / (_HIGHEST * side)) / 2)
    spectrum = waves @ pictures.astype(np.float32) @ waves.T
    return np.asarray(waves.T @ (spectrum * strength) @ waves, dtype=np.float32)


@cache
def _cosines(side: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(S, S) the cosine transform, orthogonal; (S, S) the frequency of each of its products, in half periods."""
    steps = np.arange(side)
    waves = np.cos(np.pi * np.outer(steps, steps + 0.5) / side) * np.sqrt(np.where(steps, 2, 1) / side)[:, None]
    return waves.astype(np.float32), np.hypot(steps, steps[:, None]).astype(np.float32)


def is_flat(pictures: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(n,) whether there is too little contrast in the whole image. pictures: (n, 2, S, S) uint8."""
    return np.asarray(pictures[:, WHOLE].std((1, 2), dtype=np.float32) < _FLAT)
