"""PNG files written row by row, which Pillow cannot do: for images that do not fit into memory."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from types import TracebackType
from typing import IO

import numpy as np
from numpy.typing import NDArray

_GREY, _RGB, _PALETTE = 0, 2, 3  # PNG's colour types
_SUBTRACT_LEFT = 1  # PNG's filter "Sub"
_PIECE = 1 << 20  # bytes of compressed data in one chunk


class PngWriter:
    """Writes rows of 8-bit grey, palette or RGB pixels into an open file, from the top.

    palette: (r, g, b) of each index; None for grey, or for RGB with channels=3. Sources: W3C PNG, third edition,
    sections 5, 9 and 11. Photographs are filtered by the pixel to the left; indices are not filtered, as section 12.7
    recommends. Close it after the last row: until then the file is not a valid PNG.
    """

    def __init__(
        self,
        file: IO[bytes],
        width: int,
        height: int,
        palette: Sequence[Sequence[int]] | None = None,
        channels: int = 1,
    ) -> None:
        self._file = file
        self._photograph = channels == 3
        self._compressor = zlib.compressobj(6)
        self._pending = bytearray()
        colour_type = _PALETTE if palette is not None else _RGB if channels == 3 else _GREY
        file.write(b"\x89PNG\r\n\x1a\n")
        self._chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0))
        if palette is not None:
            self._chunk(b"PLTE", bytes(value for colour in palette for value in colour))

    def rows(self, pixels: NDArray[np.uint8]) -> None:
        """Writes the next rows: (n, width) uint8, or (n, width, 3)."""
        flat = pixels.reshape(len(pixels), -1)
        filtered = np.zeros((len(flat), flat.shape[1] + 1), np.uint8)
        filtered[:, 1:] = flat
        if self._photograph:
            filtered[:, 0] = _SUBTRACT_LEFT
            filtered[:, 4:] -= flat[:, :-3]
        self._pending += self._compressor.compress(filtered.tobytes())
        if len(self._pending) >= _PIECE:
            self._flush()

    def close(self) -> None:
        """Ends the image; the file stays open."""
        self._pending += self._compressor.flush()
        self._flush()
        self._chunk(b"IEND", b"")

    def __enter__(self) -> PngWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()

    def _flush(self) -> None:
        self._chunk(b"IDAT", bytes(self._pending))
        self._pending.clear()

    def _chunk(self, name: bytes, data: bytes) -> None:
        self._file.write(struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)))
