"""Validation images of a run to try it with: chosen by the server, and named by their number alone."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from snellen.data.spread import spread
from snellen.run.directory import RunDirectory
from snellen.serving.limits import Limits, RefusedError
from snellen.serving.upload import Upload

_MOST = 14
_SIDE = 160  # px, the shorter one of a small picture


@dataclass(frozen=True)
class Samples:
    """Some images. classes: of each, None if they have masks. bits: that 16-bit images are read by."""

    paths: tuple[Path, ...] = ()
    classes: tuple[str | None, ...] = ()
    bits: int | None = None

    @classmethod
    def of(cls, run: RunDirectory, bits: int | None) -> Samples:
        """Evenly spaced validation images of a run, of those that are still where it was trained."""
        table = run.part("validation")
        classes = table["class"] if "class" in table else [None] * len(table)
        images = [(run.image(path), name) for path, name in zip(table["path"], classes, strict=True)]
        found = spread([(path, name) for path, name in images if path.is_file()], _MOST)
        return cls(tuple(path for path, _ in found), tuple(name for _, name in found), bits)

    def listed(self) -> list[dict[str, Any]]:
        """For JSON."""
        return [{"number": number, "class": name} for number, name in enumerate(self.classes)]

    def file(self, number: int, limits: Limits) -> tuple[bytes, str]:
        """An image as it could be uploaded, and its type: the file itself, or its pixels as a PNG.

        Raises RefusedError if there is none, or if it could not be uploaded.
        """
        path = self._path(number)
        try:
            content = path.read_bytes()
        except OSError:
            raise _gone(number) from None
        try:
            if len(content) <= limits.upload:
                return content, Upload(content, limits.pixels).media
        except RefusedError:  # a TIFF, or one with 16 bits per channel
            pass
        image = self._image(number, None)
        if image.width * image.height > limits.pixels or len(content := _encoded(image, "PNG")) > limits.upload:
            raise RefusedError(413, f"Sample {number} is larger than what this server accepts.")
        return content, "image/png"

    @lru_cache(maxsize=_MOST)  # noqa: B019 - one server has one set of samples
    def picture(self, number: int) -> bytes:
        """A small JPEG of an image. Raises RefusedError if there is none."""
        return _encoded(self._image(number, _SIDE), "JPEG")

    def _image(self, number: int, side: int | None) -> Any:
        from PIL import Image

        from snellen.data.decode import decode
        from snellen.errors import UserError

        try:
            pixels = decode(self._path(number), side, bits=self.bits)
        except (OSError, UserError):
            raise _gone(number) from None
        return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())

    def _path(self, number: int) -> Path:
        if number >= len(self.paths):
            raise RefusedError(404, f"There is no sample {number}.")
        return self.paths[number]


def _gone(number: int) -> RefusedError:
    return RefusedError(404, f"Sample {number} can no longer be read where the run was trained.")


def _encoded(image: Any, kind: str) -> bytes:
    content = io.BytesIO()
    image.save(content, kind)
    return content.getvalue()
