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
    """largest_values: of each image of 16 bits, the largest value in it."""

    largest_values: tuple[int, ...]

    @property
    def files(self) -> int:
        """How many images have 16 bits."""
        return len(self.largest_values)

    @property
    def largest(self) -> int:
        """The largest value of all; 0 without images."""
        return max(self.largest_values, default=0)

    @property
    def bits(self) -> int:
        """The fewest bits, 8 to 16, that hold the largest value."""
        return min(16, max(8, self.largest.bit_length()))

    def sentence(self, bits: int | None) -> str:
        """How these images are read. bits: as the recipe gives them; None: they follow the largest value."""
        used = bits or self.bits
        images = f"{counted(self.files, 'image')} of 16 bits with values up to {self.largest:,}"
        text = f"{images}: read as {used} bits, so that {2**used - 1:,} is white (data.bits)"
        if self.bits > used:
            return f"{text}; larger values are cut off"
        return f"{text}; data.bits={self.bits} would use all grey levels" if self.bits < used else text

    def note(self, bits: int | None, what: str = "") -> str | None:
        """What is wrong with showing these images to a network whose training images had another scale.

        bits: of the training images; None: they had 8 bits in their files. what: says which images, "validation ".
        """
        if not self.files:
            return None
        images = counted(self.files, f"{what}image")
        if bits is None:
            return (
                f"{images} of 16 bits with values up to {self.largest:,}, and training images of 8 bits: of the 16 "
                "bits the upper eight are used, so that 65,535 is white. For another scale: "
                f"data.bits={self.bits}"
            )
        above = sum(value >= 2**bits for value in self.largest_values)
        if not above:
            return None
        return (
            f"{above:,} of {images} of 16 bits exceed {2**bits - 1:,}, which is white by the training images' scale "
            f"(data.bits={bits}): larger values, up to {self.largest:,}, are cut off"
        )


def settle_bits(
    bits: int | None, training: Sequence[Path], scored: Sequence[Path] = ()
) -> tuple[int | None, list[str]]:
    """The bits by which a set is read, and notes for people. bits: as the recipe gives them; None: as measured.

    None where no training image has 16 bits and the recipe says nothing.
    """
    depth = measure_depth(training)
    settled = bits or (depth.bits if depth.files else None)
    notes = [depth.sentence(bits)] if depth.files else []
    note = measure_depth(scored).note(settled, "validation ")
    return settled, [*notes, note] if note else notes


def measure_depth(paths: Sequence[Path]) -> Depth:
    """Reads the values of all 16-bit images among `paths`; files that cannot be read are passed over."""
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
    """By the header's 25th byte: opening each of many small files with Pillow would take longer."""
    try:
        with path.open("rb") as file:
            start = file.read(25)
    except OSError:
        return False
    return start[:4] != b"\x89PNG" or (len(start) == 25 and start[24] == 16)
