"""How many bits the values of 16-bit files actually use: one scale for a whole set of images."""

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

# Other formats have 8 bits, or are read as if they had.
_SUFFIXES = frozenset({".png", ".tif", ".tiff", ".pgm", ".ppm"})


@dataclass(frozen=True)
class Depth:
    """largest_values: the largest value in each 16-bit image."""

    largest_values: tuple[int, ...]

    @property
    def files(self) -> int:
        """Number of 16-bit images."""
        return len(self.largest_values)

    @property
    def largest(self) -> int:
        """The largest value in all images; 0 without images."""
        return max(self.largest_values, default=0)

    @property
    def bits(self) -> int:
        """The fewest bits, 8 to 16, that hold the largest value."""
        return min(16, max(8, self.largest.bit_length()))

    def sentence(self, bits: int | None) -> str:
        """How these images are read, for people. bits: as in the recipe; None: derived from the largest value."""
        used = bits or self.bits
        images = f"{counted(self.files, 'image')} with 16 bits and values up to {self.largest:,}"
        text = f"{images}: read as {used} bits, so that {2**used - 1:,} is white (data.bits)"
        if self.bits > used:
            return f"{text}; larger values are clipped"
        return f"{text}; data.bits={self.bits} would use all grey levels" if self.bits < used else text

    def note(self, bits: int | None, part: str = "") -> str | None:
        """A warning if these images do not fit the scale of a network's training images.

        bits: of the training images; None: their files had 8 bits. part: which images these are, such as "validation ".
        """
        if not self.files:
            return None
        images = counted(self.files, f"{part}image")
        if bits is None:
            return (
                f"{images} with 16 bits and values up to {self.largest:,}, but training images with 8 bits: the upper "
                "eight of the 16 bits are used, so that 65,535 is white. For another scale: "
                f"data.bits={self.bits}"
            )
        above = sum(value >= 2**bits for value in self.largest_values)
        if not above:
            return None
        return (
            f"{above:,} of {images} with 16 bits exceed {2**bits - 1:,}, which is white on the training images' scale "
            f"(data.bits={bits}): larger values, up to {self.largest:,}, are clipped"
        )


def settle_bits(
    bits: int | None, training: Sequence[Path], scored: Sequence[Path] = ()
) -> tuple[int | None, list[str]]:
    """The bits with which a set is read, and notes for people. bits: as in the recipe; None: measured.

    None if no training image has 16 bits and the recipe does not set them.
    """
    depth = measure_depth(training)
    settled = bits or (depth.bits if depth.files else None)
    notes = [depth.sentence(bits)] if depth.files else []
    note = measure_depth(scored).note(settled, "validation ")
    return settled, [*notes, note] if note else notes


def measure_depth(paths: Sequence[Path]) -> Depth:
    """Reads the values of all 16-bit images among `paths`; unreadable files are skipped."""
    paths = [path for path in paths if path.suffix.lower() in _SUFFIXES]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        largest = [value for value in pool.map(_largest, paths) if value is not None]
    return Depth(tuple(largest))


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
    """Checks the 25th byte of the header, since opening many small files with Pillow would take longer."""
    try:
        with path.open("rb") as file:
            start = file.read(25)
    except OSError:
        return False
    return start[:4] != b"\x89PNG" or (len(start) == 25 and start[24] == 16)
