"""How many bits the values of 16-bit files really take: one scale for a whole set of images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from snellen.data.bands import Bands, has_rasterio, tiff_header
from snellen.data.decode import UnreadableImageError, deep_png_values, opened_image
from snellen.words import counted

_SUFFIXES = frozenset({".png", ".tif", ".tiff", ".pgm", ".ppm"})  # other formats have 8 bits, or are read as such


@dataclass(frozen=True)
class Depth:
    """files: how many images have 16 bits. largest: the largest value in them."""

    files: int
    largest: int

    @property
    def bits(self) -> int:
        """The fewest bits, 8 to 16, that hold the largest value."""
        return min(16, max(8, self.largest.bit_length()))

    def sentence(self, bits: int | None) -> str:
        """What a person should know. bits: as the recipe gives them; None: they follow the largest value."""
        files = counted(self.files, "image has 16 bits", "images have 16 bits")
        used = bits or self.bits
        text = f"{files}, with values up to {self.largest:,}; read as {used} bits, 0 to {2**used - 1:,} (data.bits)"
        if self.bits > used:
            return f"{text}: larger values are cut off to white"
        return f"{text}: data.bits={self.bits} would use all grey levels" if self.bits < used else text


def measure_depth(paths: Sequence[Path]) -> Depth:
    """Reads the values of all 16-bit images among `paths`; files that cannot be read are passed over."""
    paths = [path for path in paths if path.suffix.lower() in _SUFFIXES]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        largest = [value for value in pool.map(_largest, paths) if value is not None]
    return Depth(len(largest), max(largest, default=0))


def _largest(path: Path) -> int | None:
    """The largest value of a 16-bit image; None for other images and unreadable ones."""
    try:
        if path.suffix.lower() == ".png" and not _is_deep_png(path):
            return None
        header = tiff_header(path)
        if header is not None and header.bits <= 8:
            return None
        if header is not None and header.by_bands and has_rasterio():
            bands = Bands(path, header, 16)
            try:
                return bands.largest()
            finally:
                bands.close()
        with opened_image(path) as opened:
            values = deep_png_values(opened, path)
            if values is not None:
                return int((values[..., :-1] if values.shape[-1] in {2, 4} else values).max(initial=0))
            return int(np.asarray(opened).max(initial=0)) if opened.mode.startswith("I") else None
    except UnreadableImageError:
        return None  # reported when it is decoded


def _is_deep_png(path: Path) -> bool:
    """By the header's 25th byte: opening each of many small files with Pillow would take longer."""
    try:
        with path.open("rb") as file:
            start = file.read(25)
    except OSError:
        return False
    return start[:4] != b"\x89PNG" or (len(start) == 25 and start[24] == 16)
