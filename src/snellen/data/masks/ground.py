"""Textures of drawn ground: meadows, forest, fields, a town, water, bare rock; colours in [0, 1]."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.fft import fftfreq, irfft2, rfft2, rfftfreq
from scipy.ndimage import gaussian_filter

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Bools = NDArray[np.bool_]

_GREENS = ((0.33, 0.43, 0.20), (0.40, 0.47, 0.24), (0.27, 0.38, 0.19))
_STRAWS = ((0.62, 0.56, 0.37), (0.55, 0.48, 0.33), (0.50, 0.50, 0.30))
_CROPS = (
    (0.36, 0.50, 0.22),  # young
    (0.26, 0.40, 0.17),  # full
    (0.46, 0.52, 0.26),  # ripening
    (0.30, 0.42, 0.20),  # dark
    (0.68, 0.60, 0.36),  # ripe
    (0.60, 0.52, 0.36),  # stubble
    (0.45, 0.35, 0.26),  # ploughed
    (0.53, 0.43, 0.33),  # ploughed
)
_TREES = ((0.15, 0.24, 0.13), (0.18, 0.29, 0.14), (0.12, 0.21, 0.15), (0.25, 0.30, 0.14))
_ROCKS = ((0.66, 0.60, 0.50), (0.58, 0.55, 0.50), (0.62, 0.50, 0.38), (0.72, 0.68, 0.58))
_ROOFS = (
    (0.58, 0.34, 0.26),  # tiles and slate
    (0.48, 0.29, 0.23),
    (0.52, 0.50, 0.48),
    (0.36, 0.35, 0.36),
    (0.74, 0.73, 0.70),  # flat roofs
    (0.60, 0.52, 0.42),
    (0.43, 0.40, 0.36),
)
_WATERS = ((0.12, 0.20, 0.25), (0.16, 0.25, 0.24), (0.26, 0.30, 0.22), (0.10, 0.17, 0.16))


@dataclass(frozen=True)
class Frame:
    """A square of ground. size: px. x, y: (size, size), 0 to 1, to the right and down."""

    size: int
    x: Floats
    y: Floats
    generator: Generator

    @classmethod
    def of(cls, size: int, generator: Generator) -> Frame:
        """The frame of a scene of `size` px."""
        line = ((np.arange(size) + 0.5) / size).astype(np.float32)
        x = np.tile(line, (size, 1))
        return cls(size, x, np.ascontiguousarray(x.T), generator)

    def turned(self, degrees: float) -> tuple[Floats, Floats]:
        """Coordinates along and across a direction."""
        cos, sin = np.float32(np.cos(np.deg2rad(degrees))), np.float32(np.sin(np.deg2rad(degrees)))
        return cos * self.x + sin * self.y, cos * self.y - sin * self.x

    def fractal(self, roughness: float) -> Floats:
        """(size, size) noise of mean 0 and deviation 1 whose power falls as frequency to the -roughness."""
        spectrum = rfft2(self.generator.standard_normal((self.size, self.size), dtype=np.float32))
        return _standard(irfft2(spectrum * _falloff(self.size, roughness), (self.size, self.size)))

    def grain(self, radius: float) -> Floats:
        """(size, size) noise of mean 0 and deviation 1, smooth over `radius` px."""
        white = self.generator.standard_normal((self.size, self.size), dtype=np.float32)
        return _standard(gaussian_filter(white, max(radius, 0.3)))

    def pick(self, colours: tuple[tuple[float, float, float], ...], spread: float = 0.03) -> Floats:
        """(3,) one of the colours, slightly varied."""
        colour = np.array(colours[self.generator.integers(len(colours))])
        varied: Floats = (colour + self.generator.normal(0, spread, 3)).astype(np.float32)
        return varied


def meadow(frame: Frame) -> Floats:
    """(size, size, 3) grass between green and straw, with shrubs."""
    patches = 0.5 + 0.33 * frame.fractal(2.2)
    ground = _between(frame.pick(_GREENS), frame.pick(_STRAWS), patches)
    shrubs = np.clip(frame.grain(frame.size / 300) - 1.9, 0, 0.6) * np.clip(1 + 0.6 * frame.fractal(2.5), 0, 2)
    grass: Floats = ground * (1 + 0.06 * frame.grain(0.5)[..., None])
    grass *= 1 - 0.8 * np.clip(shrubs, 0, 1)[..., None]
    return grass


def forest(frame: Frame) -> Floats:
    """(size, size, 3) crowns of trees, lit from one side."""
    crowns = frame.grain(frame.size / 270)
    step = max(1, round(frame.size / 300))
    lit = crowns - np.roll(crowns, (step, step), (0, 1))
    stands = _between(frame.pick(_TREES), frame.pick(_TREES), 0.5 + 0.4 * frame.fractal(2.6))
    stands *= np.clip(1 + 0.16 * crowns + 0.3 * lit, 0.35, 2)[..., None]
    return stands


def bare(frame: Frame) -> Floats:
    """(size, size, 3) rock, gravel and sand."""
    veins = np.abs(frame.fractal(2.0))
    ground = _between(frame.pick(_ROCKS), frame.pick(_ROCKS), 0.5 + 0.35 * frame.fractal(2.4))
    return ground * (0.88 + 0.12 * np.clip(veins, 0, 2) + 0.05 * frame.fractal(1.0))[..., None]


def water(frame: Frame) -> Floats:
    """(size, size, 3) smooth, dark, sometimes muddy or glinting."""
    ripples = 1 + 0.03 * frame.grain(0.8) + 0.06 * frame.fractal(2.8)
    glint = frame.generator.uniform(0, 0.1) * np.clip(frame.fractal(3.0), 0, 2)
    return frame.pick(_WATERS, 0.02) * ripples[..., None] + glint[..., None]


@dataclass(frozen=True)
class Fields:
    """pixels: (size, size, 3). plots: (size, size) index of each pixel's field."""

    pixels: Floats
    plots: Integers


def fields(frame: Frame) -> Fields:
    """Fields in strips, each with one crop, most of them in rows, with paths and hedges between them."""
    generator = frame.generator
    along, across = frame.turned(generator.uniform(0, 180))
    bend = 0.008 * frame.fractal(4.5)
    along, across = along + bend, across + bend
    plots, margin = _strips(along, across, generator)
    count = int(plots.max()) + 1
    crops = np.array(_CROPS)[generator.integers(len(_CROPS), size=count)] + generator.normal(0, 0.025, (count, 3))
    period = np.maximum(generator.uniform(0.006, 0.016, count), 2.6 / frame.size)
    strength = generator.choice([0.0, 0.06, 0.1, 0.16], count, p=[0.15, 0.35, 0.3, 0.2])
    sideways = generator.random(count) < 0.4
    position = np.where(sideways[plots], along, across)
    rows = strength[plots] * np.sin(2 * np.pi * position / period[plots])
    growth = 0.07 * frame.fractal(2.4) + 0.03 * frame.grain(0.6)
    pixels = crops[plots] * (1 + rows + growth)[..., None]
    edge = np.clip(1.6 - margin * frame.size, 0, 1)[..., None] * (generator.random(count) < 0.7)[plots][..., None]
    hedge = np.where(generator.random(count)[plots][..., None] < 0.5, (0.2, 0.28, 0.14), (0.6, 0.54, 0.42))
    return Fields((pixels + edge * 0.8 * (hedge - pixels)).astype(np.float32), plots)


def _strips(along: Floats, across: Floats, generator: Generator) -> tuple[Integers, Floats]:
    """The index of each pixel's field, and its distance from the edge of the field, in shares of the scene."""
    borders = np.cumsum(generator.uniform(0.07, 0.2, 40)) - 1.6
    strip = np.searchsorted(borders, across)
    padded = np.concatenate([[-9], borders, [9]])
    margin = np.minimum(across - padded[strip], padded[strip + 1] - across)
    plots, first = np.zeros(across.shape, dtype=np.int64), 0
    for number in np.unique(strip):
        inside = strip == number
        cuts = np.cumsum(generator.uniform(0.09, 0.34, 24)) - 1.6
        ends = np.concatenate([[-9], cuts, [9]])
        segment = np.searchsorted(cuts, along[inside])
        margin[inside] = np.minimum(
            margin[inside], np.minimum(along[inside] - ends[segment], ends[segment + 1] - along[inside])
        )
        plots[inside] = segment + first
        first += len(ends)
    return plots, margin.astype(np.float32)


def town(frame: Frame) -> Floats:
    """(size, size, 3) houses with two-sided roofs and shadows, gardens, and streets between the blocks."""
    generator = frame.generator
    lot = generator.uniform(0.032, 0.05)
    u, v = frame.turned(generator.uniform(0, 90))
    u, v = u / lot + 40, v / (lot * generator.uniform(0.8, 1.2)) + 40
    column, row = u.astype(np.int64), v.astype(np.int64)
    across, down = u - column, v - row
    table = (128, 128)
    left, top = generator.uniform(0.06, 0.25, (2, *table))
    right, bottom = generator.uniform(0.7, 0.94, (2, *table))
    lot_index = column % table[0], row % table[1]
    built = (generator.random(table) < 0.85)[lot_index]
    roof = (
        built
        & (across > left[lot_index])
        & (across < right[lot_index])
        & (down > top[lot_index])
        & (down < bottom[lot_index])
    )
    tiles = np.array(_ROOFS)[generator.integers(len(_ROOFS), size=table)] + generator.normal(0, 0.03, (*table, 3))
    ridge = np.where((generator.random(table) < 0.5)[lot_index], across, down) < 0.5
    light = np.where(ridge, 1.08, 0.86)
    paved = (generator.random(table) < 0.35)[lot_index][..., None]
    garden = np.where(paved, (0.55, 0.53, 0.50), frame.pick(_GREENS)) * (1 + 0.14 * frame.grain(0.9))[..., None]
    street_width = generator.uniform(0.22, 0.4)
    street = ((column % 4 == 0) & (across < street_width)) | ((row % 3 == 0) & (down < street_width))
    roof &= ~street
    pixels = np.where(street[..., None], 0.44 + 0.02 * frame.grain(0.7)[..., None], garden)
    reach = max(1, round(frame.size * lot / 12))
    shadow = np.roll(roof, (reach, reach), (0, 1)) & ~roof
    pixels = np.where(shadow[..., None], 0.55 * pixels, pixels)
    return np.where(roof[..., None], tiles[lot_index] * light[..., None], pixels).astype(np.float32)


@lru_cache(maxsize=32)
def _falloff(size: int, roughness: float) -> Floats:
    """Amplitudes of the frequencies of `rfft2`; frequencies below one per scene width count as one."""
    frequency = np.hypot(fftfreq(size)[:, None], rfftfreq(size)[None]) * size
    amplitudes: Floats = (np.maximum(frequency, 1) ** (-roughness / 2)).astype(np.float32)
    return amplitudes


def _between(first: Floats, second: Floats, share: Floats) -> Floats:
    """(size, size, 3) colours from `first` (share 0) to `second` (share 1)."""
    blended: Floats = first + np.clip(share, 0, 1)[..., None] * (second - first)
    return blended


def _standard(noise: Floats) -> Floats:
    centred: Floats = noise - noise.mean()
    return centred / max(float(centred.std()), 1e-6)
