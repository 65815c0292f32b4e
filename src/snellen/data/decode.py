"""Image files of any format decoded to RGB pixels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from threading import Lock, RLock
from typing import IO, TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from snellen.data.bands import Bands, TiffHeader, eight_bits, has_rasterio, over_white, tiff_header
from snellen.data.memory import free_memory
from snellen.data.stalled import watched
from snellen.data.unreadable import UnreadableImageError as UnreadableImageError
from snellen.errors import UserError
from snellen.words import counted

if TYPE_CHECKING:
    from torch import Tensor

if find_spec("pillow_heif") is not None:
    from pillow_heif import register_heif_opener

    register_heif_opener()

_MOST_PIXELS = 1_000_000_000
_LARGE = 50_000_000  # pixels from which an image is decoded alone, and only if there is enough free memory
_BYTES = {"1": 8, "L": 8, "RGB": 12}  # per pixel, at most, while it is decoded and converted; other modes: 20
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Whatever a file's suffix, its content has one of these: among Pillow's others, EPS is a program for Ghostscript.
_FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP", "DIB", "PPM", "MPO", "JPEG2000", "AVIF", "HEIF")
_opening = Lock()
_alone = RLock()


def decode(path: Path, shorter: int | None = None, enough: int | None = None, bits: int | None = None) -> Tensor:
    """The image as (3, H, W) uint8 RGB, turned upright by its EXIF orientation.

    shorter: images whose shorter side exceeds this many pixels are reduced to it, antialiased; none is enlarged.
    enough: a JPEG may be decoded at a half, a quarter or an eighth of its size, as long as its shorter side stays at
    least twice this; None: as `shorter`. bits: how many bits the values of 16-bit files use, 8 to 16; the upper eight
    are kept and larger values become white; None: 16. Grey, palette and CMYK images are converted; transparency is
    composited over white. A TIFF is read by the rule of data/bands.py, which may need rasterio. Raises
    UnreadableImageError for anything that cannot be decoded completely.
    """
    import torch  # here, so that files are served without it

    header = tiff_header(path)
    if header is not None and header.by_bands and (has_rasterio() or not header.by_pillow):
        image = _from_bands(path, header, bits or 16)
    else:
        as_stored = header is not None and header.georeferenced
        with opened_image(path) as opened:
            enough = enough or shorter
            if enough is not None and opened.format == "JPEG" and min(opened.size) >= 2 * enough:
                factor = 2 * enough / min(opened.size)
                opened.draft(None, (int(opened.width * factor), int(opened.height * factor)))
            if as_stored:
                image = opened.convert("RGB")
            else:
                image = upright(opened, deep_png(opened, path, bits) or as_rgb(opened, path, bits))
    if shorter is not None and min(image.size) > shorter:
        factor = shorter / min(image.size)
        size = [max(shorter, round(side * factor)) for side in image.size]
        image = image.resize((size[0], size[1]), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def kind_and_size(path: Path) -> tuple[str, int, int]:
    """The format of a file ("JPEG RGB"), its width and height, from its header alone. Raises UnreadableImageError."""
    header = tiff_header(path)
    if header is not None and header.by_bands:
        kind = "GeoTIFF" if header.georeferenced else "TIFF"
        return f"{kind} of {counted(header.bands, 'band')}, {header.bits} bits", header.width, header.height
    with opened_image(path) as opened:
        deep = ", 16 bits" if is_deep_png(opened) else ""
        return f"{opened.format} {opened.mode}{deep}", opened.width, opened.height


@contextmanager
def opened_image(path: Path, more: int = 0) -> Iterator[Image.Image]:
    """An open image file; anything wrong with it, also while its pixels are read, raises UnreadableImageError.

    So does an image that does not fit into memory, or one of more than a billion pixels. more: bytes per pixel that the
    caller needs besides those of decoding it as RGB.
    """
    try:
        with _opened(path) as file, _without_limit(file) as opened:
            pixels = opened.width * opened.height
            with _alone if pixels > _LARGE else nullcontext():
                _check_size(path, opened, more)
                yield opened
    except UserError:
        raise
    except UnidentifiedImageError:
        empty = path.stat().st_size == 0
        raise UnreadableImageError(path, "the file is empty" if empty else "not a readable image") from None
    except FileNotFoundError:
        raise UnreadableImageError(path, "no such file") from None
    except Exception as error:  # Pillow's decoders raise many kinds of errors, such as struct.error and OverflowError
        raise UnreadableImageError(path, f"damaged image ({str(error) or type(error).__name__})") from error


def _opened(path: Path) -> IO[bytes]:
    with watched(path):
        file = path.open("rb")
        file.read(65536)  # so that nothing waits for the disk while Pillow's limit is lifted
        file.seek(0)
    return file


def _without_limit(file: object) -> Image.Image:
    """Opens a file without Pillow's size limit, which rejects legitimate large images; lifted for the header only."""
    with _opening:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file, formats=_formats())  # type: ignore[arg-type]
        finally:
            Image.MAX_IMAGE_PIXELS = limit


@cache
def _formats() -> list[str]:
    """Those of _FORMATS that are installed."""
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]


def _check_size(path: Path, image: Image.Image, more: int) -> None:
    pixels = image.width * image.height
    size = f"{image.width:,} x {image.height:,} pixels"
    if pixels > _MOST_PIXELS:
        raise UnreadableImageError(path, f"{size}, more than a billion")
    needed = pixels * (_BYTES.get(image.mode, 20) + more)
    if pixels > _LARGE and needed > (free := free_memory() * 3 // 4):
        raise UnreadableImageError(
            path, f"decoding {size} takes {needed / 2**30:.1f} GiB; {free / 2**30:.1f} GiB are available"
        )


def upright(opened: Image.Image, image: Image.Image | None = None) -> Image.Image:
    """An image turned upright by the EXIF orientation of its file. image: a converted copy; None: `opened` itself."""
    image = opened if image is None else image
    try:
        orientation = opened.getexif().get(0x0112, 1)
    except Exception:  # viewers, too, show an image with damaged EXIF as it is stored
        orientation = 1
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def as_rgb(image: Image.Image, path: Path, bits: int | None = None) -> Image.Image:
    """An image, or a part of one, in any of Pillow's modes as RGB. path: for the message of UnreadableImageError.

    bits: as in `decode`.
    """
    if image.mode.startswith("I"):
        return Image.fromarray(eight_bits(np.asarray(image), bits or 16)).convert("RGB")
    if image.mode == "F":
        raise UnreadableImageError(
            path, "floating-point pixels of unknown range; save it with 8 or 16 bits per channel"
        )
    if image.mode in {"RGBA", "LA", "PA", "RGBa", "La"} or "transparency" in image.info:
        layers = image.convert("RGBA")
        white = Image.new("RGBA", layers.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layers).convert("RGB")
    return image.convert("RGB")


def deep_png(opened: Image.Image, path: Path, bits: int | None) -> Image.Image | None:
    """A 16-bit PNG with several channels as RGB, composited over white; None for any other image.

    Pillow itself would keep the upper eight of the 16 bits, whatever the values are.
    """
    values = deep_png_values(opened, path)
    if values is None:
        return None
    colours = values[..., :-1] if values.shape[-1] in {2, 4} else values
    rgb = np.ascontiguousarray(np.broadcast_to(eight_bits(colours, bits or 16), (*values.shape[:2], 3)))
    if values.shape[-1] in {2, 4}:
        rgb = over_white(rgb, eight_bits(values[..., -1], 16), premultiplied=False)
    return Image.fromarray(rgb)


def is_deep_png(opened: Image.Image) -> bool:
    """Whether an image that is open but not loaded is a 16-bit PNG with several channels."""
    if opened.format != "PNG" or opened.mode.startswith("I"):
        return False
    return any("16" in str(tile[3]) for tile in opened.tile)  # type: ignore[attr-defined]


def deep_png_values(opened: Image.Image, path: Path) -> NDArray[np.uint16] | None:
    """(h, w, channels) of a 16-bit PNG with several channels, alpha last; None for any other image."""
    if not is_deep_png(opened):
        return None
    import torch
    from torchvision.io import ImageReadMode, decode_png

    values = decode_png(torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8), ImageReadMode.UNCHANGED)
    return np.asarray(values.permute(1, 2, 0).contiguous().numpy(), dtype=np.uint16)


def _from_bands(path: Path, header: TiffHeader, bits: int) -> Image.Image:
    pixels = header.width * header.height
    with _alone if pixels > _LARGE else nullcontext():
        if pixels > _MOST_PIXELS or (pixels > _LARGE and 12 * pixels > free_memory() * 3 // 4):
            raise UnreadableImageError(
                path, f"{header.width:,} x {header.height:,} pixels, more than can be decoded at once"
            )
        bands = Bands(path, header, bits)
        try:
            image = Image.fromarray(bands.read(0, 0, bands.height, bands.width))
        finally:
            bands.close()
    turn = None if header.georeferenced else _TURNS.get(header.orientation)
    return image if turn is None else image.transpose(turn)
