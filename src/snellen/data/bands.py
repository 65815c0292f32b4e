"""TIFF files whose bands rasterio reads: GeoTIFF, and what Pillow cannot read whole.

The rule, for a file wherever it is read (training, evaluation, prediction, check):
- GeoTIFF (a file with a georeference): bands 1 to 3 are red, green and blue, or band 1 is grey if there are fewer
  than three; further bands are ignored however they are marked, since GDAL marks any fourth band as alpha.
  Pixels stay as stored: EXIF orientation is ignored.
- Any other TIFF: a band marked as alpha (tag ExtraSamples) after grey or RGB is transparency, which is composited over
  white. Otherwise the first three bands, or the first one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from snellen.data.shards.path import ShardPath
from snellen.data.unreadable import UnreadableImageError

TIFF_SUFFIXES = frozenset({".tif", ".tiff"})
_LARGEST_BLOCK = 2**30  # bytes: GDAL decodes whole blocks, even if the file has only a few bytes
_CACHE_MIB = 256  # of decoded blocks; GDAL's own default is a twentieth of the machine's memory
# TIFF's tags of a georeference: pixel scale, tie points, transformation, keys.
_GEOREFERENCE = {33550, 33922, 34264, 34735}
_MINISWHITE, _MINISBLACK, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6
_STRIP = 4_000_000  # pixels read at a time when searching for the largest value
_MOST_STRIPS = 64


@dataclass(frozen=True)
class TiffHeader:
    """georeferenced: whether it is a GeoTIFF. bits: per sample. photometric, orientation: TIFF's numbers.

    alpha: 0 none, 1 premultiplied, 2 straight; as marked in the file; a GeoTIFF marks any fourth band.
    """

    width: int
    height: int
    bands: int
    bits: int
    photometric: int
    alpha: int
    orientation: int
    georeferenced: bool

    @property
    def by_bands(self) -> bool:
        """Whether the file is read band by band; any other is a picture, which Pillow reads."""
        if self.georeferenced or self.bands > 4 or (self.bits > 8 and self.bands > 1):
            return True
        return self.photometric in {_MINISWHITE, _MINISBLACK} and self.bands > (2 if self.alpha else 1)

    @property
    def by_pillow(self) -> bool:
        """Whether Pillow reads the same bands of a GeoTIFF, for use without rasterio."""
        plain = (self.photometric == _MINISBLACK and self.bands == 1) or self.photometric in {_RGB, _PALETTE, _YCBCR}
        return self.georeferenced and self.bits == 8 and plain and self.bands <= 4 and self.alpha != 1


def tiff_header(path: Path) -> TiffHeader | None:
    """The header in the first directory of a TIFF; None for a file that is not a TIFF by suffix and contents."""
    if path.suffix.lower() not in TIFF_SUFFIXES:
        return None
    try:
        with path.open("rb") as file:
            start = file.read(8)
            if start[:2] not in {b"II", b"MM"}:
                return None
            if 43 in {start[2], start[3]}:  # BigTIFF
                start += file.read(8)
            tags = ImageFileDirectory_v2(start)
            file.seek(tags.next)
            tags.load(file)
            bits, extra = tags.get(258, (1,)), tags.get(338, (0,))
            return TiffHeader(
                width=int(tags[256]),
                height=int(tags[257]),
                bands=int(tags.get(277, 1)),
                bits=max(map(int, _as_tuple(bits))),
                photometric=int(tags.get(262, _MINISBLACK)),
                alpha=int(_as_tuple(extra)[0]) if _as_tuple(extra) else 0,
                orientation=int(tags.get(274, 1)),
                georeferenced=bool(_GEOREFERENCE & set(tags)),
            )
    except Exception:  # a damaged directory: the error is reported when the file is decoded
        return None


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _contents(path: ShardPath) -> list[tuple[bytes, Any]]:
    """A TIFF in shards, last, and the palette that GDAL may have put next to it; as bytes and as a MemoryFile."""
    from rasterio.io import MemoryFile

    folder, beside = uuid4().hex, path.with_name(f"{path.name}.aux.xml")
    contents = [(file.name, file.read_bytes()) for file in (beside, path) if file.exists()]
    return [(content, MemoryFile(content, folder, name)) for name, content in contents]


def has_rasterio() -> bool:
    """Whether rasterio, an extra, is installed."""
    return find_spec("rasterio") is not None


def eight_bits(values: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """The upper eight bits of integers with `bits` bits, clipped to 0 … 2**bits - 1 first.

    uint8 values are returned unchanged.
    """
    if values.dtype == np.uint8:
        return values
    return (values.clip(0, 2**bits - 1) >> (bits - 8)).astype(np.uint8)


def over_white(colours: NDArray[np.uint8], alpha: NDArray[np.uint8], premultiplied: bool) -> NDArray[np.uint8]:
    """(h, w, 3) colours with (h, w) opacity, composited over white."""
    opacity = alpha[..., None].astype(np.uint16)
    over = colours.astype(np.uint16) * (255 if premultiplied else opacity) + 255 * (255 - opacity)
    return ((over.clip(0, 255 * 255) + 127) // 255).astype(np.uint8)


class Bands:
    """A TIFF opened with rasterio and read in windows as RGB, by the rule above. Thread-safe for reading.

    bits: of the set's 16-bit files, as in `decode`. file: rasterio's dataset. Raises UnreadableImageError, here or when
    a window is read.
    """

    def __init__(self, path: Path, header: TiffHeader, bits: int) -> None:
        if not has_rasterio():
            raise UnreadableImageError(
                path,
                f"a TIFF with {header.bands} bands of {header.bits} bits each, which needs rasterio: "
                "pip install 'snellen[geo]'",
            )
        import rasterio
        from rasterio.enums import ColorInterp

        self._path, self._header, self._bits, self._lock = path, header, bits, Lock()
        with self._reading():
            # In shards: the bytes, and rasterio's files of them, which must outlive the dataset.
            self._contents = _contents(path) if isinstance(path, ShardPath) else []
            opened = self._contents[-1][1].open if self._contents else partial(rasterio.open, path)
            self.file = opened(driver="GTiff")  # other drivers follow links to other files and hosts
            kind = self.file.dtypes[0]
            if kind not in {"uint8", "uint16", "int16", "uint32", "int32"}:
                raise UnreadableImageError(path, f"pixels of type {kind}; save it with 8 or 16 bits per channel")
            rows, columns = self.file.block_shapes[0]
            if rows * columns * self.file.count * np.dtype(kind).itemsize > _LARGEST_BLOCK:
                raise UnreadableImageError(
                    path, f"stored in blocks of {columns:,} x {rows:,} px; save it in tiles of a few hundred px"
                )
            self._palette = None
            if self.file.colorinterp[0] == ColorInterp.palette:
                colours = self.file.colormap(1)
                self._palette = np.array([colours.get(value, (0, 0, 0, 0))[:3] for value in range(256)], np.uint8)
        self.height, self.width = int(self.file.height), int(self.file.width)
        self._indexes = [1, 2, 3] if self.file.count >= 3 else [1]
        has_alpha = self.file.count in {2, 4} and header.alpha in {1, 2}
        self._alpha = self.file.count if has_alpha and not header.georeferenced else None

    def read(self, top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
        """(height, width, 3) of a window that lies inside the image."""
        indexes = self._indexes if self._alpha is None else [*self._indexes, self._alpha]
        values = self._values(indexes, top, left, height, width)
        if self._palette is not None:
            return np.asarray(self._palette[values[0].clip(0, 255)])
        grey_or_rgb = np.moveaxis(self._bytes(values[: len(self._indexes)]), 0, -1)
        colours = np.ascontiguousarray(np.broadcast_to(grey_or_rgb, (height, width, 3)))
        if self._alpha is None:
            return colours
        return over_white(colours, eight_bits(values[-1], 16), self._header.alpha == 1)

    def largest(self) -> int:
        """The largest value of the bands that are read, ignoring pixels marked as no data.

        Above about 256 million pixels, evenly spaced parts of the image are sampled.
        """
        width = min(self.width, _STRIP)
        height = max(1, _STRIP // width)
        columns = -(-self.width // width)
        parts = columns * -(-self.height // height)
        largest = 0
        for number in np.linspace(0, parts - 1, min(parts, _MOST_STRIPS)).round().astype(int).tolist():
            top, left = number // columns * height, number % columns * width
            rows, used = min(height, self.height - top), min(width, self.width - left)
            values = self._values(self._indexes, top, left, rows, used)
            if self.file.nodata is not None:
                values = values[values != self.file.nodata]
            largest = max(largest, int(values.max(initial=0)))
        return largest

    def valid(self, top: int, left: int, height: int, width: int) -> NDArray[np.bool_]:
        """(height, width): True where the file marks its pixels as valid."""
        from rasterio.windows import Window

        with self._reading(), self._lock:
            return np.asarray(self.file.dataset_mask(window=Window(left, top, width, height)) > 0)

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self.file.close()
            for _, file in self._contents:
                file.close()

    def _bytes(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        stored = self._header.bits
        if stored < 8:
            values = (values.astype(np.uint16) * 255 // (2**stored - 1)).astype(np.uint8)
        eight = eight_bits(values, self._bits)
        return 255 - eight if self._header.photometric == _MINISWHITE else eight

    def _values(self, indexes: list[int], top: int, left: int, height: int, width: int) -> NDArray[Any]:
        import rasterio
        from rasterio.windows import Window

        with self._reading(), self._lock, rasterio.Env(GDAL_CACHEMAX=_CACHE_MIB):
            return np.asarray(self.file.read(indexes, window=Window(left, top, width, height)))

    @contextmanager
    def _reading(self) -> Iterator[None]:
        from rasterio.errors import RasterioError

        try:
            yield
        except (RasterioError, MemoryError, ValueError, OverflowError) as error:
            raise UnreadableImageError(self._path, f"damaged image ({error})") from error
