"""Drawn land-cover scenes with their masks: terrain, river, fields, forest, town. They are not photographs.

Each class shares its colours with another (green crops and meadows, ploughed earth and bare ground, roofs and rock,
dark water and forest), so that colour alone does not identify it; texture and shape are needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from snellen.data.masks.classes import LAND_COVER
from snellen.data.masks.ground import Bools, Floats, Frame, bare, fields, forest, meadow, town, water
from snellen.errors import UserError
from snellen.files import replacing
from snellen.randomness import derive

_URBAN, _AGRICULTURE, _RANGE, _FOREST, _WATER, _BARREN, _UNKNOWN = range(7)
_COLOURS = np.array([*LAND_COVER.colours, (0, 0, 0)], dtype=np.uint8)


@dataclass(frozen=True)
class Scene:
    """pixels: (size, size, 3) uint8, before any compression. mask: (size, size, 3) uint8 in land-cover colours."""

    pixels: NDArray[np.uint8]
    mask: NDArray[np.uint8]


def draw_scenes(folder: Path, count: int, size: int = 512, seed: int = 0, validation_share: float = 0.2) -> None:
    """Writes train/NNNN_sat.jpg and validation/NNNN_sat.jpg, each with NNNN_mask.png next to it.

    size: px, at least 32. The first scenes are the training ones; scene n depends on seed and n alone.
    """
    if count < 2 or size < 32:
        raise UserError(f"{count} scenes of {size} px: expected at least two, of 32 px or more.")
    training = min(count - 1, round(count * (1 - validation_share)))
    for number in range(count):
        scene = draw_scene(size, derive(seed, "scene", number))
        side = folder / ("train" if number < training else "validation")
        quality = 78 + derive(seed, "quality", number) % 17
        with replacing(side / f"{number:04d}_sat.jpg") as temporary:
            Image.fromarray(scene.pixels).save(temporary, format="JPEG", quality=quality)
        with replacing(side / f"{number:04d}_mask.png") as temporary:
            Image.fromarray(scene.mask).save(temporary, format="PNG")


def draw_scene(size: int, seed: int) -> Scene:
    """One scene, as from an aircraft or satellite; the same arguments give the same pixels."""
    frame = Frame.of(size, np.random.default_rng(seed))
    generator = frame.generator
    height = frame.fractal(3.6)
    labels = np.full((size, size), _RANGE, dtype=np.uint8)
    pixels = meadow(frame)

    def cover(where: Bools, label: int, drawn: Floats) -> None:
        labels[where] = label
        pixels[where] = drawn[where]

    moisture = gaussian_filter(frame.fractal(2.7), size / 300) - 0.25 * height
    cover(moisture > np.quantile(moisture, 1 - generator.uniform(0.05, 0.45)), _FOREST, forest(frame))
    if generator.random() < 0.6:
        rough = gaussian_filter(height + 0.25 * frame.fractal(2.0), size / 300)
        cover(rough > np.quantile(rough, 1 - generator.uniform(0.05, 0.3)), _BARREN, bare(frame))
    if generator.random() < 0.8:
        farmed = fields(frame)
        cover(_whole_plots(farmed.plots, frame, height), _AGRICULTURE, farmed.pixels)
    if generator.random() < 0.65:
        cover(_town_area(frame), _URBAN, town(frame))
    is_water, shore = _water_and_shore(frame, height)
    if is_water.any():
        cover(shore & (labels != _URBAN), _BARREN, bare(frame))
        cover(is_water, _WATER, water(frame))
    flat = 1 - 0.8 * gaussian_filter((labels == _WATER).astype(np.float32), 1.0)
    pixels *= (1 + flat * _relief(frame, height))[..., None]
    pixels, cloud = _atmosphere_and_camera(frame, pixels)
    labels[cloud] = _UNKNOWN
    return Scene(np.clip(pixels * 255, 0, 255).round().astype(np.uint8), _COLOURS[labels])


def _whole_plots(plots: NDArray[np.int64], frame: Frame, height: Floats) -> Bools:
    """Mask of farmed land: whole fields, on gentle ground."""
    suitability = frame.fractal(3.0) - 0.8 * height
    pixels = np.maximum(np.bincount(plots.ravel()), 1)
    mean = np.bincount(plots.ravel(), suitability.ravel()) / pixels
    threshold = np.quantile(suitability, 1 - frame.generator.uniform(0.2, 0.75))
    farmed: Bools = (mean > threshold)[plots]
    return farmed


def _town_area(frame: Frame) -> Bools:
    """One town, or a town and a village, with ragged outskirts."""
    ragged = 0.045 * frame.fractal(2.6)
    area = np.zeros(frame.x.shape, dtype=bool)
    for radius in (frame.generator.uniform(0.12, 0.32), frame.generator.uniform(-0.08, 0.14)):
        x, y = frame.generator.uniform(0.05, 0.95, 2)
        area |= np.hypot(frame.x - x, frame.y - y) + ragged < radius
    return area


def _water_and_shore(frame: Frame, height: Floats) -> tuple[Bools, Bools]:
    """Masks of rivers and lakes, and of the bare shore along part of them."""
    generator = frame.generator
    distance = np.full(frame.x.shape, 9.0, dtype=np.float32)  # from the water's edge, below zero in the water
    if generator.random() < 0.65:
        along, across = frame.turned(generator.uniform(0, 360))
        along, across = along - along.mean(), across - across.mean()
        bends = generator.uniform(0.02, 0.11, 3) / (1, 2, 4)
        turns, phases = generator.uniform(0.6, 1.4, 3) * (5, 11, 23), generator.uniform(0, 2 * np.pi, 3)
        angles = along[..., None] * turns + phases
        middle = (bends * np.sin(angles)).sum(-1) + generator.uniform(-0.25, 0.25)
        slope = (bends * turns * np.cos(angles)).sum(-1)
        width = np.maximum(generator.uniform(0.012, 0.045), 1.2 / frame.size) * (1 + 0.15 * frame.fractal(3.2))
        distance = (np.abs(across - middle) / np.sqrt(1 + slope**2) - width).astype(np.float32)
    if generator.random() < 0.4:
        low = np.quantile(height, generator.uniform(0.02, 0.14))
        distance = np.minimum(distance, 0.12 * (height + 0.05 * frame.fractal(2.4) - low))
    bank = generator.uniform(0.0, 0.022) * np.clip(frame.fractal(2.6), 0, 1.5)
    return distance < 0, (distance >= 0) & (distance < bank)


def _relief(frame: Frame, height: Floats) -> Floats:
    """Light on slopes: 0 on flat ground, brighter towards the sun."""
    sun = frame.generator.uniform(0, 2 * np.pi)
    down, right = np.gradient(gaussian_filter(height, frame.size / 200))
    slope = np.cos(sun) * right + np.sin(sun) * down
    strength = frame.generator.uniform(0.04, 0.13) / max(float(slope.std()), 1e-6)
    light: Floats = np.clip(strength * slope, -0.45, 0.45).astype(np.float32)
    return light


def _atmosphere_and_camera(frame: Frame, pixels: Floats) -> tuple[Floats, Bools]:
    """Uneven light, haze, clouds in some scenes, the lens and the sensor. Also the mask of opaque clouds."""
    generator = frame.generator
    tint = generator.normal(1, 0.04, 3).astype(np.float32)
    pixels = pixels * (1 + 0.06 * frame.fractal(3.6))[..., None] * tint
    cloud = np.zeros(frame.x.shape, dtype=bool)
    if generator.random() < 0.2:
        cover = gaussian_filter(frame.fractal(3.0), frame.size / 150)
        opacity = np.clip(1.5 * (cover - np.quantile(cover, generator.uniform(0.92, 0.98))), 0, 0.96)
        pixels = pixels + opacity[..., None] * (0.93 - pixels)
        cloud = opacity > 0.5
    haze = generator.uniform(0, 0.18)
    pixels = (1 - haze) * pixels + haze * np.array([0.66, 0.70, 0.76], dtype=np.float32)
    pixels = np.clip(generator.uniform(0.9, 1.35) * pixels, 0, 1) ** generator.uniform(0.85, 1.1)
    sharp = generator.uniform(0.35, 0.8)
    pixels = gaussian_filter(pixels, (sharp, sharp, 0))
    noise = generator.normal(0, generator.uniform(0.004, 0.018), pixels.shape)
    return (pixels + noise).astype(np.float32), cloud
