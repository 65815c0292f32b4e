"""Images of any size, read in parts: GeoTIFF and large TIFF from disk, other files decoded once as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from snellen.data.bands import Bands, TiffHeader, has_rasterio, tiff_header
from snellen.data.decode import UnreadableImageError, as_rgb, decode, deep_png, kind_and_size, opened_image, upright
from snellen.data.in_memory import ImageInMemory
from snellen.errors import UserError

_LARGE = 64_000_000  # pixels from which a plain TIFF is read in parts if rasterio is installed


class Raster(Protocol):
    """An open image. Thread-safe for reading.

    georeference: arguments of rasterio.open for a file with the same location; None if the file has none.
    """

    height: int
    width: int
    georeference: dict[str, Any] | None

    def read(self, top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
        """A window that lies inside the image, (height, width, 3) RGB."""

    def valid(self, top: int, left: int, height: int, width: int) -> NDArray[np.bool_] | None:
        """(height, width): True where pixels are valid; None: everywhere."""

    def close(self) -> None:
        """Closes the file and frees its pixels."""


def open_raster(path: Path | ImageInMemory, bits: int | None = None) -> Raster:
    """An image as `decode` returns it, in parts. bits: as there.

    Raises UnreadableImageError, here or when a part is read, and UserError for a GeoTIFF without rasterio.
    """
    if isinstance(path, ImageInMemory):
        return _Decoded(path.name, path.rgb(bits), bits)
    header = tiff_header(path)
    if header is not None and _by_parts(path, header):
        return _Windowed(Bands(path, header, bits or 16))
    return _Decoded(path, _loaded(path, bits), bits)


def pixels_of(path: Path | ImageInMemory) -> int:
    """Height times width, from the file's header; 0 if it cannot be read."""
    if isinstance(path, ImageInMemory):
        return path.height_and_width[0] * path.height_and_width[1]
    try:
        _, width, height = kind_and_size(path)
        return width * height
    except UnreadableImageError:
        return 0


def _by_parts(path: Path, header: TiffHeader) -> bool:
    if header.georeferenced:
        if not has_rasterio():
            raise UserError(
                f"{path}: a GeoTIFF, whose georeference would be lost. Keeping it needs rasterio, which is not "
                "installed: pip install 'snellen[geo]'"
            )
        return True
    if header.orientation != 1 or not has_rasterio():
        return False
    plain = header.bits == 8 and (header.photometric, header.bands) in {(1, 1), (2, 3)}
    return header.by_bands or (plain and header.width * header.height > _LARGE)


def _loaded(path: Path, bits: int | None) -> Image.Image:
    """A whole file, upright, in any mode; the bands of a TIFF and a 16-bit PNG are already RGB."""
    header = tiff_header(path)
    if header is not None and header.by_bands:
        return Image.fromarray(decode(path, bits=bits).permute(1, 2, 0).numpy())
    with opened_image(path) as image:
        image.load()
        return upright(image, deep_png(image, path, bits))


class _Decoded:
    """A decoded image, converted to RGB part by part so that there is only one copy of it in memory."""

    georeference: dict[str, Any] | None = None

    def __init__(self, path: Path, image: Image.Image, bits: int | None) -> None:
        self._path, self._image, self._bits = path, image, bits
        self.width, self.height = image.size

    def read(self, top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
        part = self._image.crop((left, top, left + width, top + height))
        return np.array(as_rgb(part, self._path, self._bits))

    def valid(self, top: int, left: int, height: int, width: int) -> NDArray[np.bool_] | None:
        return None

    def close(self) -> None:
        self._image.close()


class _Windowed:
    """A TIFF that rasterio reads in windows."""

    def __init__(self, bands: Bands) -> None:
        from rasterio.enums import MaskFlags

        self._bands, file = bands, bands.file
        self.height, self.width = bands.height, bands.width
        self._all_valid = all(MaskFlags.all_valid in flags for flags in file.mask_flag_enums)
        points, crs = file.gcps
        is_unreferenced = file.crs is None and file.transform.is_identity and not points
        location = {"crs": crs, "gcps": points} if points else {"crs": file.crs, "transform": file.transform}
        self.georeference = None if is_unreferenced else location

    def read(self, top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
        return self._bands.read(top, left, height, width)

    def valid(self, top: int, left: int, height: int, width: int) -> NDArray[np.bool_] | None:
        return None if self._all_valid else self._bands.valid(top, left, height, width)

    def close(self) -> None:
        self._bands.close()
