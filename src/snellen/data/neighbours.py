"""Whether images with consecutive numbers in their names are frames of one scene."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from snellen.data.decode import UnreadableImageError, decode
from snellen.data.depth import measure_depth

_PAIRS = 60
_MUCH_NEARER = 0.35


def neighbours_look_alike(root: Path, paths: list[str]) -> bool:
    """Whether the median distance of consecutive thumbnails is far below that of random pairs from the same folder.

    Compares up to 60 pairs of images, determined by the order of the paths.
    """
    numbered: dict[tuple[str, int], str] = {}
    for path in paths:
        match = re.fullmatch(r"(.*?)(\d+)(\.\w+)", path)
        if match:
            numbered[match[1] + match[3], int(match[2])] = path
    pairs = [
        (path, numbered[stem, number + 1])
        for (stem, number), path in numbered.items()
        if (stem, number + 1) in numbered
    ]
    if len(pairs) < 10:
        return False
    pairs = pairs[:: max(1, len(pairs) // _PAIRS)][:_PAIRS]
    bits = measure_depth(sorted({root / path for pair in pairs for path in pair})).bits
    near, far = [], []
    by_folder: dict[str, list[str]] = {}
    for path in paths:
        by_folder.setdefault(path.rpartition("/")[0], []).append(path)
    generator = np.random.default_rng(0)
    for first, second in pairs:
        folder = by_folder[first.rpartition("/")[0]]
        other = folder[int(generator.integers(len(folder)))]
        thumbnails = [_thumbnail(root / path, bits) for path in (first, second, other)]
        if any(thumbnail is None for thumbnail in thumbnails) or other == first:
            continue
        near.append(_distance(thumbnails[0], thumbnails[1]))
        far.append(_distance(thumbnails[0], thumbnails[2]))
    return len(near) >= 10 and float(np.median(near)) < _MUCH_NEARER * float(np.median(far))


def _thumbnail(path: Path, bits: int) -> NDArray[np.float64] | None:
    try:
        image = Image.fromarray(decode(path, 32, bits=bits).permute(1, 2, 0).contiguous().numpy())
    except UnreadableImageError:
        return None  # reported when it is decoded
    return np.asarray(image.convert("L").resize((16, 16), Image.Resampling.BOX), dtype=np.float64)


def _distance(first: NDArray[np.float64] | None, second: NDArray[np.float64] | None) -> float:
    assert first is not None
    assert second is not None
    return float(np.abs(first - second).mean())
