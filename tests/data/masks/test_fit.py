"""How masks fit the edges of their images: moved, exchanged and shapeless masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from snellen.data.masks.fit import Fit, fit
from snellen.insight.misfits import Misfits, find_misfits

BLOBS = 8


def scene(seed: int, height: int = 96, width: int = 128, noise: float = 6.0) -> tuple[Tensor, Tensor]:
    """Ellipses of a few classes, each in its grey level, under noise; and the classes."""
    rng = np.random.default_rng(seed)
    down, right = np.mgrid[:height, :width]
    mask = np.zeros((height, width), dtype=np.uint8)
    for label in rng.integers(1, 5, BLOBS):
        centre, radius = rng.uniform(0, [height, width]), rng.uniform(8, 22, 2)
        mask[((down - centre[0]) / radius[0]) ** 2 + ((right - centre[1]) / radius[1]) ** 2 < 1] = label
    grey = np.array([60, 110, 160, 210, 20])[mask] + rng.normal(0, noise, mask.shape)
    image = np.repeat(grey.clip(0, 255).astype(np.uint8)[None], 3, axis=0)
    return torch.from_numpy(image), torch.from_numpy(mask)


def moved(mask: Tensor, down: int, right: int) -> Tensor:
    rows, columns = (
        np.clip(np.arange(side) - move, 0, side - 1) for side, move in zip(mask.shape, (down, right), strict=True)
    )
    return torch.from_numpy(mask.numpy()[rows][:, columns])


def judged(pairs: list[tuple[Tensor, Tensor]]) -> Misfits:
    fits = {row: found for row, pair in enumerate(pairs) if (found := fit(*pair)) is not None}
    return find_misfits(fits)


SCENES = [scene(seed) for seed in range(40)]


def test_nothing_is_found_among_masks_that_fit() -> None:
    found = judged(SCENES)
    assert (found.moved, found.unlike, found.common) == ([], [], (0, 0))
    assert found.judged == found.fitting == 40


@settings(max_examples=15, deadline=None)
@given(down=st.integers(-9, 9), right=st.integers(-9, 9))
def test_the_move_that_undoes_a_shift_is_named(down: int, right: int) -> None:
    pairs = [*SCENES[:-1], (SCENES[-1][0], moved(SCENES[-1][1], down, right))]
    found = judged(pairs)
    if np.hypot(down, right) < 1.5:
        assert found.moved == []
    elif np.hypot(down, right) >= 4:
        (only,) = found.moved
        assert only.row == 39
        assert abs(only.down + down) <= 1
        assert abs(only.right + right) <= 1


def test_a_mask_of_another_image_fits_nowhere() -> None:
    found = judged([*SCENES[:-2], (SCENES[-2][0], SCENES[-1][1]), SCENES[-1]])
    assert 38 in found.unlike or 38 in [misfit.row for misfit in found.moved]
    assert 39 not in found.unlike


def test_masks_that_all_lie_aside_are_no_misfits() -> None:
    found = judged([(image, moved(mask, 0, 3)) for image, mask in SCENES])
    assert found.moved == []
    assert found.common == (0, -3)


def test_masks_that_follow_no_edges_are_not_judged() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 3, 96, 128)).astype(np.uint8)
    found = judged([(torch.from_numpy(image), mask) for image, (_, mask) in zip(noise, SCENES, strict=True)])
    assert found.judged == 40
    assert found.fitting < 20
    assert (found.moved, found.unlike) == ([], [])


def test_a_large_scene_is_reduced_and_moves_are_in_its_pixels() -> None:
    image, mask = (part.repeat_interleave(17, -1).repeat_interleave(17, -2) for part in scene(5))
    found = fit(image, moved(mask, 34, 0))
    assert isinstance(found, Fit)
    assert found.step == 3  # 2,176 px
    best = np.unravel_index(found.strength.argmax(), found.strength.shape)
    assert abs((best[0] - 12) * found.step + 34) <= found.step
    assert best[1] == 12


@pytest.mark.parametrize(
    "size", [(1, 1), (1, 4000), (4000, 1), (2, 200), (64, 64)], ids=lambda size: "x".join(map(str, size))
)
def test_masks_without_borders_are_not_judged(size: tuple[int, int]) -> None:
    assert fit(torch.zeros(3, *size, dtype=torch.uint8), torch.zeros(size, dtype=torch.uint8)) is None


def test_borders_of_unscored_pixels_do_not_count() -> None:
    image, mask = scene(1)
    assert fit(image, torch.where(mask > 0, 255, 0).to(torch.uint8)) is None


def test_a_flat_image_fits_nowhere() -> None:
    found = judged([*SCENES[:-1], (torch.full((3, 96, 128), 90, dtype=torch.uint8), SCENES[-1][1])])
    assert found.unlike == [39]
    assert np.isfinite(fit(torch.zeros(3, 96, 128, dtype=torch.uint8), SCENES[0][1]).strength).all()  # type: ignore[union-attr]


def test_one_mask_and_none() -> None:
    assert find_misfits({}) == Misfits([], [], (0, 0), 0, 0)
    found = judged(SCENES[:1])
    assert (found.judged, found.fitting, found.moved, found.unlike) == (1, 1, [], [])
