"""What decoding gives is recorded for fixed files, since the cache of pixels cannot notice that it has changed."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

import numpy as np
from PIL import Image

from snellen.data.decode import decode
from snellen.data.disk_cache import _READER

# Of the pixels below, by _READER. If they change: increase _READER, so that no run takes pixels from the cache which
# another version has decoded, and record the new ones.
RECORDED = {1: "8b4eba82c61ea6fe5a0a0f7a910d742c"}


def write_files(folder: Path) -> list[tuple[Path, int | None]]:
    """Small lossless files, which any version of any library decodes alike; the bits of 16-bit ones."""
    y, x = np.mgrid[:9, :13]
    values = [(23 * x + 7 * y) % 256, (5 * x + 31 * y) % 256, (11 * x * y) % 256, (17 * x + 3 * y * y) % 256]
    grey, alpha = values[0].astype(np.uint8), values[3].astype(np.uint8)
    bands = [Image.fromarray(value.astype(np.uint8)) for value in values]
    rgb = np.dstack([np.asarray(band) for band in bands[:3]])
    palette = Image.fromarray(grey % 16)
    palette.putpalette([(37 * number) % 256 for number in range(48)])
    turned = Image.Exif()
    turned[0x0112] = 6  # turned by 90 degrees
    deep = Image.fromarray((257 * values[0] + values[1]).astype(np.uint16))
    images: list[tuple[str, Image.Image, dict[str, object], int | None]] = [
        ("rgb.png", Image.fromarray(rgb), {}, None),
        ("turned.png", Image.fromarray(rgb), {"exif": turned}, None),
        ("grey.png", Image.fromarray(grey), {}, None),
        ("bits.png", Image.fromarray(grey > 100), {}, None),
        ("palette.png", palette, {}, None),
        ("clear.png", palette, {"transparency": 3}, None),
        ("rgba.png", Image.fromarray(np.dstack([rgb, alpha])), {}, None),
        ("grey and alpha.png", Image.fromarray(np.dstack([grey, alpha])), {}, None),
        ("deep.png", deep, {}, None),
        ("twelve bits.png", Image.fromarray((values[0] * 16 + 5).astype(np.uint16)), {}, 12),
        ("rgb.tif", Image.fromarray(rgb), {"compression": "tiff_lzw"}, None),
        ("deep.tif", deep, {}, None),
        ("cmyk.tif", Image.merge("CMYK", bands), {}, None),
    ]
    for name, image, options, _ in images:
        image.save(folder / name, **options)
    return [(folder / name, bits) for name, _, _, bits in images]


def test_a_change_of_decoding_is_noticed(tmp_path: Path) -> None:
    digest = blake2b(digest_size=16)
    for path, bits in write_files(tmp_path):
        pixels = decode(path, bits=bits)
        digest.update(f"{path.name} {tuple(pixels.shape)}".encode())
        digest.update(pixels.contiguous().numpy().tobytes())
    assert digest.hexdigest() == RECORDED[_READER], "see RECORDED"
