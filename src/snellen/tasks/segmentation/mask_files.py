"""The files of a predicted image: masks by index and in colour, probabilities, overlays; written whole or not at all.

    index/NAME.png            grey, a pixel's value is its class; 255 where a GeoTIFF has no data
    colour/NAME.png           the same values with a palette
    overlays/NAME.png         the image with the mask's colours over it
    probabilities/NAME.npy    (h, w, C) float16

For a georeferenced image: index/NAME.tif and colour/NAME.tif (with a colour table), probabilities/NAME.tif (C bands of
float32), all with its georeference.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from snellen.data.masks.classes import IGNORE
from snellen.data.masks.overlay import tinted
from snellen.data.png import PngWriter
from snellen.data.rasters import Raster
from snellen.errors import UserError
from snellen.files import replacing
from snellen.tasks.segmentation.inference import Rows

if TYPE_CHECKING:
    from rasterio.io import DatasetWriter

_OPACITY = 0.5  # of the colours in overlays
_TILED = {"driver": "GTiff", "tiled": True, "compress": "deflate", "BIGTIFF": "IF_SAFER"}


@dataclass(frozen=True)
class Outputs:
    """Which files to write, and the (r, g, b) of each class."""

    colours: Sequence[tuple[int, int, int]]
    probabilities: bool = False
    overlays: bool = False

    def targets(self, out: Path, name: str, georeferenced: bool) -> dict[str, Path]:
        """The files of an image, by folder."""
        suffix = ".tif" if georeferenced else ".png"
        suffixes = {"index": suffix, "colour": suffix}
        suffixes |= {"overlays": ".png"} if self.overlays else {}
        suffixes |= {"probabilities": ".tif" if georeferenced else ".npy"} if self.probabilities else {}
        return {folder: out / folder / f"{name}{end}" for folder, end in suffixes.items()}


def output_names(paths: Sequence[Path]) -> list[str]:
    """A unique name without suffix for each image, unique on case-insensitive file systems too.

    Their stems; if these clash, their paths below the folder that they share; if those clash too, with the images'
    suffixes, and finally with numbers.
    """
    absolute = [path.absolute() for path in paths]
    root = os.path.commonpath([path.parent for path in absolute])
    below = [path.relative_to(root) for path in absolute]
    for names in (
        [path.stem for path in below],
        [path.with_suffix("").as_posix() for path in below],
        [path.as_posix() for path in below],
    ):
        if len({name.casefold() for name in names}) == len(names):
            return names
    return [f"{path.as_posix()}-{number}" for number, path in enumerate(below, start=1)]


def valid_labels(rows: Rows) -> NDArray[np.uint8]:
    """(n, w) the class of each pixel of some rows; 255 where the file has no data."""
    valid = rows.raster.valid(rows.top, 0, *rows.labels.shape)
    return rows.labels if valid is None else np.where(valid, rows.labels, np.uint8(IGNORE))


class MaskFiles:
    """The files of one image, written row by row. If an error is raised inside, no file is left behind.

    mask: the index file. pixels: (C,) number of pixels of each class so far.
    """

    def __init__(self, out: Path, name: str, raster: Raster, outputs: Outputs) -> None:
        self._raster, self._outputs = raster, outputs
        self._colours = outputs.colours
        self.pixels = np.zeros(len(outputs.colours), np.int64)
        self._targets = outputs.targets(out, name, raster.georeference is not None)
        self.mask = self._targets["index"]

    def __enter__(self) -> MaskFiles:
        with ExitStack() as stack:
            temporary = {folder: stack.enter_context(replacing(path)) for folder, path in self._targets.items()}
            if self._raster.georeference is None:
                self._open_png(stack, temporary)
            else:
                self._open_tiff(stack, temporary)
            if "overlays" in temporary:
                file = stack.enter_context(temporary["overlays"].open("wb"))
                self._overlay = stack.enter_context(
                    PngWriter(file, self._raster.width, self._raster.height, channels=3)
                )
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def write(self, rows: Rows) -> None:
        """Writes the next rows."""
        index = valid_labels(rows)
        self.pixels += np.bincount(index.ravel(), minlength=256)[: len(self.pixels)]
        if self._raster.georeference is None:
            self._index.rows(index)
            self._colour.rows(index)
        else:
            self._write_tiff(rows, index)
        if self._outputs.overlays:
            self._overlay.rows(self._overlay_rows(rows.top, index))
        if rows.probabilities is not None and self._raster.georeference is None:
            self._probabilities.write(rows.probabilities.tobytes())

    def _open_png(self, stack: ExitStack, paths: dict[str, Path]) -> None:
        files = {folder: stack.enter_context(path.open("wb")) for folder, path in paths.items() if folder != "overlays"}
        width, height = self._raster.width, self._raster.height
        palette = [*self._outputs.colours, *[(0, 0, 0)] * (256 - len(self._outputs.colours))]
        self._index = stack.enter_context(PngWriter(files["index"], width, height))
        self._colour = stack.enter_context(PngWriter(files["colour"], width, height, palette))
        if "probabilities" in files:
            self._probabilities = files["probabilities"]
            header = {"descr": "<f2", "fortran_order": False, "shape": (height, width, len(self._outputs.colours))}
            np.lib.format.write_array_header_1_0(self._probabilities, header)

    def _open_tiff(self, stack: ExitStack, paths: dict[str, Path]) -> None:
        import rasterio

        assert self._raster.georeference is not None
        common = {"width": self._raster.width, "height": self._raster.height, **_TILED, **self._raster.georeference}
        self._tiffs: dict[str, DatasetWriter] = {}
        for folder, path in paths.items():
            if folder == "probabilities":
                options: dict[str, Any] = {"count": len(self._outputs.colours), "dtype": "float32", "predictor": 3}
            elif folder == "overlays":
                continue
            else:
                options = {"count": 1, "dtype": "uint8", "nodata": IGNORE}
            self._tiffs[folder] = stack.enter_context(rasterio.open(path, "w", **common, **options))
        table = {number: (*colour, 255) for number, colour in enumerate(self._outputs.colours)}
        self._tiffs["colour"].write_colormap(1, table)

    def _write_tiff(self, rows: Rows, index: NDArray[np.uint8]) -> None:
        from rasterio.windows import Window

        height, width = index.shape
        window = Window(0, rows.top, width, height)
        for folder, file in self._tiffs.items():
            if folder != "probabilities":
                file.write(index, 1, window=window)
            elif rows.probabilities is not None:
                file.write(np.moveaxis(rows.probabilities, -1, 0).astype(np.float32), window=window)

    def _overlay_rows(self, top: int, index: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(n, w, 3) the image's rows with the mask's colours over them; pixels without a class are unchanged."""
        height, width = index.shape
        image = self._raster.read(top, 0, height, width)
        blended = np.empty_like(image)
        for row in range(height):  # a few megabytes at a time
            here = slice(row, row + 1)
            blended[here] = tinted(image[here], index[here], self._colours, _OPACITY)
        return blended


def refuse_overwriting(sources: Sequence[Path], targets: Sequence[Path]) -> None:
    """Raises UserError if a file to be written is one of the images."""
    images = {os.path.normcase(path.resolve()): path for path in sources}
    for target in targets:
        if (image := images.get(os.path.normcase(target.resolve()))) is not None:
            raise UserError(f"{image}: an image that would be overwritten by its mask. Choose another --out folder.")
