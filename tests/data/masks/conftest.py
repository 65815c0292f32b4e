"""Small images with masks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """write('train/images/a.png', pixels): an image file below tmp_path; random colours where no pixels are given."""

    def save(name: str, pixels: np.ndarray | None = None, mode: str | None = None, **options: object) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if pixels is None:
            pixels = np.random.default_rng(sum(name.encode())).integers(0, 256, (8, 8, 3)).astype(np.uint8)
        image = Image.fromarray(pixels)
        (image if mode is None else image.convert(mode)).save(path, **options)
        return path

    return save
