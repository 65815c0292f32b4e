"""Images of any size, read part by part: GeoTIFF and large TIFF from the disk, other files decoded whole once."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from snellen.data.decode import UnreadableImageError, as_rgb, opened_image
from snellen.errors import UserError

_CACHE_MIB = (
    256  # of decoded blocks; GDAL's own default is a twentieth of the machine's memory, fixed by the first read
)
_LARGE = 64_000_000  # pixels from which a plain TIFF is read part by part where rasterio is installed
# TIFF's tags of a georeference: pixel scale, tie points, transformation, keys.
_GEOREFERENCE = {33550, 33922, 34264, 34735}


@dataclass(frozen=True)
class Georeference:
    """Where an image lies on Earth, as rasterio has it: a coordinate system and an affine transform, or points."""

    crs: Any
    transform: Any
    points: tuple[Any, Any]

    def profile(self) -> dict[str, Any]:
        """Arguments of rasterio.open for a file of the same place and size."""
        points, points_crs = self.points
        return {"crs": points_crs, "gcps": points} if points else {"crs": self.crs, "transform": self.transform}


class Raster(Protocol):
    """An open image. georeference: None where the file has none. Safe to be read from several threads."""

    height: int
    width: int
    georeference: Georeference | None

    def read(self, top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
        """A part that lies inside the image, (height, width, 3) RGB."""

    def valid(self, top: int, left: int, height: int, width: int) -> NDArray[np.bool_] | None:
        """(height, width) where there is an image at all; None: everywhere."""

    def close(self) -> None:
        """Lets go of the file and of what is held of it."""


def open_raster(path: Path) -> Raster:
    """An image, upright by its EXIF orientation. As `decode` gives it, in parts.

    Raises UnreadableImageError, here or when a part is read, and UserError for a GeoTIFF without rasterio.
    """
    return _Windowed(path) if _by_parts(path) else _Decoded(path)


def pixels_of(path: Path) -> int:
    """Height times width, from the file's header; 0 where it cannot be read."""
    try:
        with Image.open(path) as image:
            return image.width * image.height
    except (OSError, ValueError, SyntaxError):
        return 0


def need_rasterio(what: str) -> None:
    """Raises UserError, saying how to install it, when rasterio is not there. what: begins the message."""
    if find_spec("rasterio") is None:
        raise UserError(f"{what} needs rasterio, which is not installed: pip install 'snellen[geo]'")


def _by_parts(path: Path) -> bool:
    if path.suffix.lower() not in {".tif", ".tiff"} or not path.is_file():
        return False
    try:
        with Image.open(path) as image:
            tags = set(image.tag_v2) if image.format == "TIFF" else set()  # type: ignore[attr-defined]
            plain = image.mode in {"RGB", "L"} and image.getexif().get(0x0112, 1) == 1  # no orientation to heed
            large = image.width * image.height > _LARGE
    except (OSError, ValueError, SyntaxError):
        return find_spec("rasterio") is not None  # a kind that Pillow does not know
    if tags & _GEOREFERENCE:
        need_rasterio(f"{path}: a GeoTIFF, whose georeference would be lost. Keeping it")
        return True
    return plain and large and find_spec("rasterio") is not None


class _Decoded:
    """A file that Pillow decodes whole; converted to RGB part by part, so that there is one copy of it in memory."""

    georeference: Georeference | None = None

    def __init__(self, path: Path) -> None:
        self._path = path
        with opened_image(path) as image:
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            self._image = image
        self.width, self.height = self._image.size

    def read(self, top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
        part = self._image.crop((left, top, left + width, top + height))
        return np.array(as_rgb(part, self._path))

    def valid(self, top: int, left: int, height: int, width: int) -> NDArray[np.bool_] | None:
        return None

    def close(self) -> None:
        self._image.close()


class _Windowed:
    """A TIFF that rasterio reads by windows: the first three bands, or the first as grey; of 16 bits the upper 8."""

    def __init__(self, path: Path) -> None:
        import rasterio
        from rasterio.enums import ColorInterp, MaskFlags
        from rasterio.errors import NotGeoreferencedWarning, RasterioError

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            try:
                file = rasterio.open(path)
            except RasterioError as error:
                raise UnreadableImageError(path, f"damaged image ({error})") from error
        self._path, self._file, self._lock = path, file, Lock()
        self.height, self.width = file.height, file.width
        self._bands = [1, 2, 3] if file.count >= 3 else [1]
        self._shift = {"uint8": 0, "uint16": 8}.get(file.dtypes[0], -1)
        if self._shift < 0:
            raise UnreadableImageError(path, f"pixels of type {file.dtypes[0]}; save it with 8 or 16 bits a channel")
        self._palette = None
        if file.colorinterp[0] == ColorInterp.palette:
            colours = file.colormap(1)
            self._palette = np.array([colours.get(value, (0, 0, 0, 0))[:3] for value in range(256)], np.uint8)
        self._whole = all(MaskFlags.all_valid in flags for flags in file.mask_flag_enums)
        points, crs = file.gcps
        plain = file.crs is None and file.transform.is_identity and not points
        self.georeference = None if plain else Georeference(file.crs, file.transform, (points, crs))

    def read(self, top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
        import rasterio
        from rasterio.errors import RasterioError
        from rasterio.windows import Window

        try:
            with self._lock, rasterio.Env(GDAL_CACHEMAX=_CACHE_MIB):
                pixels = self._file.read(self._bands, window=Window(left, top, width, height))
        except RasterioError as error:
            raise UnreadableImageError(self._path, f"damaged image ({error})") from error
        if self._palette is not None:
            return np.asarray(self._palette[pixels[0]])
        grey_or_rgb = np.moveaxis((pixels >> self._shift).astype(np.uint8), 0, -1)
        return np.ascontiguousarray(np.broadcast_to(grey_or_rgb, (height, width, 3)))

    def valid(self, top: int, left: int, height: int, width: int) -> NDArray[np.bool_] | None:
        from rasterio.windows import Window

        if self._whole:
            return None
        with self._lock:  # always after a part was read
            return np.asarray(self._file.dataset_mask(window=Window(left, top, width, height)) > 0)

    def close(self) -> None:
        with self._lock:
            self._file.close()
