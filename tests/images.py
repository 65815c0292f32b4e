"""Small sets of images on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from snellen.data.masks.scenes import draw_scenes


def write_digits(folder: Path) -> Path:
    """Class folders 0, 1, 2 with 40 digits each, 16 x 16 px PNG files. Returns the folder."""
    data = load_digits()
    for label in range(3):
        for number, row in enumerate(np.flatnonzero(data.target == label)[:40]):
            path = folder / str(label) / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = (data.images[row] * (255 / 16)).astype(np.uint8)
            Image.fromarray(pixels).resize((16, 16)).save(path)
    return folder


def write_scenes(folder: Path) -> Path:
    """Scenes of 48 x 48 px: 11 to train on, 5 to score, with their masks. Returns the folder."""
    draw_scenes(folder, 16, size=48, validation_share=0.3)
    return folder
