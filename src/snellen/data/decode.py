"""Image files as RGB pixels, whatever their kind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from threading import Lock, RLock

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from snellen.data.bands import Bands, TiffHeader, eight_bits, has_rasterio, over_white, tiff_header
from snellen.data.memory import free_memory
from snellen.data.unreadable import UnreadableImageError as UnreadableImageError
from snellen.errors import UserError
from snellen.words import counted

if find_spec("pillow_heif") is not None:
    from pillow_heif import register_heif_opener

    register_heif_opener()

_MOST_PIXELS = 1_000_000_000
_LARGE = 50_000_000  # pixels from which an image is decoded alone, and only where the memory for it is free
_BYTES = {"1": 8, "L": 8, "RGB": 12}  # a pixel takes at most while it is decoded and converted; other modes: 20
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_opening = Lock()
_alone = RLock()


def decode(path: Path, shorter: int | None = None, enough: int | None = None, bits: int | None = None) -> Tensor:
    """The image as (3, H, W) uint8 RGB, upright by its EXIF orientation.

    shorter: an image whose shorter side is longer than this many pixels is reduced to it, antialiased; none is
    enlarged. enough: a JPEG may be decoded at a half, a quarter or an eighth of its size, as long as its shorter side
    stays at least twice this; None: as `shorter`. bits: how many bits the values of 16-bit
    files take, 8 to 16, of which the upper eight are kept and larger values are white; None: 16. Grey, palette and
    CMYK images are converted; transparency is laid over white. A TIFF is read by the rule of data/bands.py, for which
    rasterio may be needed. Raises UnreadableImageError for anything that cannot be decoded whole.
    """
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
    """The kind of a file in words ("JPEG RGB"), width and height, by its header alone. Raises UnreadableImageError."""
    header = tiff_header(path)
    if header is not None and header.by_bands:
        kind = "GeoTIFF" if header.georeferenced else "TIFF"
        return f"{kind} of {counted(header.bands, 'band')}, {header.bits} bits", header.width, header.height
    with opened_image(path) as opened:
        deep = ", 16 bits" if is_deep_png(opened) else ""
        return f"{opened.format} {opened.mode}{deep}", opened.width, opened.height


@contextmanager
def opened_image(path: Path) -> Iterator[Image.Image]:
    """An image file, open; whatever is wrong with it, also while its pixels are read, is an UnreadableImageError.

    That is also what an image is for which there is not enough memory, and one of more than a thousand million pixels.
    """
    try:
        with path.open("rb") as file:
            file.read(65536)  # so that nothing waits for the disk while Pillow's own limit is lifted
            file.seek(0)
            with _without_limit(file) as opened:
                pixels = opened.width * opened.height
                with _alone if pixels > _LARGE else nullcontext():
                    _check_size(path, opened)
                    yield opened
    except UserError:
        raise
    except UnidentifiedImageError:
        empty = path.stat().st_size == 0
        raise UnreadableImageError(path, "the file is empty" if empty else "not an image that can be read") from None
    except FileNotFoundError:
        raise UnreadableImageError(path, "no such file") from None
    except Exception as error:  # Pillow's decoders raise what they like, struct.error and OverflowError among it
        raise UnreadableImageError(path, f"damaged image ({str(error) or type(error).__name__})") from error


def _without_limit(file: object) -> Image.Image:
    """Pillow's own limit refuses honest large images: it is lifted while a header is read, and no longer."""
    with _opening:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file)  # type: ignore[arg-type]
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _check_size(path: Path, image: Image.Image) -> None:
    pixels = image.width * image.height
    size = f"{image.width:,} x {image.height:,} pixels"
    if pixels > _MOST_PIXELS:
        raise UnreadableImageError(path, f"{size}, more than a thousand million")
    needed = pixels * _BYTES.get(image.mode, 20)
    if pixels > _LARGE and needed > (free := free_memory() * 3 // 4):
        raise UnreadableImageError(
            path, f"{size} take {needed / 2**30:.1f} GiB while they are decoded; {free / 2**30:.1f} GiB can be had"
        )


def upright(opened: Image.Image, image: Image.Image | None = None) -> Image.Image:
    """An image turned as the EXIF orientation of the file says. image: the file's, converted; None: the file's own."""
    image = opened if image is None else image
    try:
        orientation = opened.getexif().get(0x0112, 1)
    except Exception:  # a viewer shows an image whose EXIF is damaged as it is stored
        orientation = 1
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def as_rgb(image: Image.Image, path: Path, bits: int | None = None) -> Image.Image:
    """An image, or a part of one, of any of Pillow's modes as RGB. path: for the message of UnreadableImageError.

    bits: as in `decode`.
    """
    if image.mode.startswith("I"):
        return Image.fromarray(eight_bits(np.asarray(image), bits or 16)).convert("RGB")
    if image.mode == "F":
        raise UnreadableImageError(path, "floating-point pixels of unknown range; save it with 8 or 16 bits a channel")
    if image.mode in {"RGBA", "LA", "PA", "RGBa", "La"} or "transparency" in image.info:
        layers = image.convert("RGBA")
        white = Image.new("RGBA", layers.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layers).convert("RGB")
    return image.convert("RGB")


def deep_png(opened: Image.Image, path: Path, bits: int | None) -> Image.Image | None:
    """A PNG of 16 bits in several channels as RGB, laid over white; None for any other image.

    Pillow keeps the upper eight of 16 bits of such a file, whatever its values are.
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
    """Whether an image that is open but not loaded is a PNG of 16 bits in several channels."""
    if opened.format != "PNG" or opened.mode.startswith("I"):
        return False
    return any("16" in str(tile[3]) for tile in opened.tile)  # type: ignore[attr-defined]


def deep_png_values(opened: Image.Image, path: Path) -> NDArray[np.uint16] | None:
    """(h, w, channels) of a PNG of 16 bits in several channels, alpha last; None for any other image."""
    if not is_deep_png(opened):
        return None
    from torchvision.io import ImageReadMode, decode_png, read_file

    values = decode_png(read_file(str(path)), ImageReadMode.UNCHANGED)
    return np.asarray(values.permute(1, 2, 0).contiguous().numpy(), dtype=np.uint16)


def _from_bands(path: Path, header: TiffHeader, bits: int) -> Image.Image:
    pixels = header.width * header.height
    with _alone if pixels > _LARGE else nullcontext():
        if pixels > _MOST_PIXELS or (pixels > _LARGE and 12 * pixels > free_memory() * 3 // 4):
            raise UnreadableImageError(
                path, f"{header.width:,} x {header.height:,} pixels, more than can be decoded whole"
            )
        bands = Bands(path, header, bits)
        try:
            image = Image.fromarray(bands.read(0, 0, bands.height, bands.width))
        finally:
            bands.close()
    turn = None if header.georeferenced else _TURNS.get(header.orientation)
    return image if turn is None else image.transpose(turn)
