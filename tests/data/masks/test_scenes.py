"""Drawn scenes: the reference's layout, the same for the same seed, and not to be told by colour alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from snellen.data.masks.cache import decode_set
from snellen.data.masks.classes import IGNORE, LAND_COVER
from snellen.data.masks.scenes import draw_scene, draw_scenes
from snellen.data.masks.sources import read_masked
from snellen.data.masks.spec import MaskDataSpec
from snellen.errors import UserError


def test_scenes_are_read_as_the_references_data_without_a_word(tmp_path: Path) -> None:
    draw_scenes(tmp_path, 10, size=64, seed=4)
    images = read_masked(tmp_path, MaskDataSpec())
    assert images.classes == LAND_COVER
    assert (len(images.train), len(images.validation)) == (8, 2)
    assert images.train[0].path == "train/0000_sat.jpg"
    assert images.validation[-1].mask == "validation/0009_mask.png"
    result = decode_set(images, MaskDataSpec(), None, None)
    assert (result.train.class_pixels[:, :-1].sum(0) > 0).all()


def test_a_scene_depends_on_its_number_alone(tmp_path: Path) -> None:
    draw_scenes(tmp_path / "few", 4, size=40, seed=1)
    draw_scenes(tmp_path / "more", 6, size=40, seed=1)
    for name in ("0001_sat.jpg", "0001_mask.png"):
        assert (tmp_path / "few/train" / name).read_bytes() == (tmp_path / "more/train" / name).read_bytes()
    assert (draw_scene(40, 1).mask != draw_scene(40, 2).mask).any()


@pytest.mark.parametrize("size", [32, 65, 200])
def test_any_size(size: int) -> None:
    scene = draw_scene(size, 0)
    assert scene.pixels.shape == scene.mask.shape == (size, size, 3)
    assert set(map(tuple, scene.mask.reshape(-1, 3))) <= {*LAND_COVER.colours, (0, 0, 0)}


def test_too_small_scenes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="32 px or more"):
        draw_scenes(tmp_path, 4, size=16)


def test_colour_tells_something_but_not_every_class(tmp_path: Path) -> None:
    """Nearest neighbours of single pixels' colours: better than the commonest class, far from right."""
    draw_scenes(tmp_path, 60, size=64, seed=0, validation_share=0.5)
    result = decode_set(read_masked(tmp_path, MaskDataSpec()), MaskDataSpec(), None, None)
    sides = []
    for pixels in (result.train, result.validation):
        raw = pixels.gather(torch.arange(len(pixels)))
        colours = raw.images.pixels.permute(0, 2, 3, 1).reshape(-1, 3).numpy()[::7]
        labels = raw.masks.pixels.flatten().numpy()[::7]
        sides.append((colours[labels != IGNORE], labels[labels != IGNORE]))
    (colours, labels), (held_out, truth) = sides
    prediction = KNeighborsClassifier(25).fit(colours, labels).predict(held_out)
    recall = [float((prediction[truth == label] == label).mean()) for label in range(6)]
    commonest = np.bincount(truth).max() / len(truth)
    assert commonest + 0.08 < (prediction == truth).mean() < 0.75
    assert sum(share < 0.6 for share in recall) >= 3
