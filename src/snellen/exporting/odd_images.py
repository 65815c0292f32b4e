"""Images of unusual sizes and kinds, on which an exported file is compared with its run."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from PIL import Image

_SIZES = (
    (1, 1), (1, 7), (7, 1), (2, 2), (3, 5), (1, 300), (300, 1), (16, 16), (31, 33), (64, 64), (223, 225), (224, 224),
    (256, 256), (257, 300), (480, 640), (641, 427), (33, 1000), (1000, 90), (1500, 1100), (1, 6000), (6000, 1),
    (6000, 40), (60, 6000), (1080, 1920), (4000, 6000),
)  # fmt: skip


def odd_images(count: int = 200) -> list[Image.Image]:
    """Drawn images: noise and smooth colours, of 1 px to 6,000 px, in RGB, grey, CMYK, with a palette or transparency.

    The same ones at every call. The largest size comes once, others in turn.
    """
    sizes = []
    for number in range(count):
        height, width = _SIZES[number % len(_SIZES)] if number < len(_SIZES) else _SIZES[number % (len(_SIZES) - 1)]
        sizes.append((height, width))
    return images_of(sizes)


def images_of(sizes: Iterable[tuple[int, int]]) -> list[Image.Image]:
    """Drawn images of these heights and widths, of five in turn of one kind, as `odd_images`."""
    return [
        _drawn(np.random.default_rng(number), *size).convert(("RGB", "L", "CMYK", "P", "RGBA", "1")[(number // 5) % 6])
        for number, size in enumerate(sizes)
    ]


def _drawn(generator: np.random.Generator, height: int, width: int) -> Image.Image:
    coarseness = int(generator.choice([1, 4, 32]))
    rows, columns = (max(1, side // coarseness) for side in (height, width))
    pixels = generator.integers(0, 256, (rows, columns, 3), np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
