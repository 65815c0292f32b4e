"""The rank correlation of maps, against the formula for values without ties."""

from __future__ import annotations

import numpy as np
import pytest

from snellen.insight.saliency import rank_correlations


def test_against_the_formula() -> None:
    generator = np.random.default_rng(0)
    maps, others = (generator.permutation(30).reshape(1, 5, 6).astype(np.float32) for _ in range(2))
    squares = float(((maps - others) ** 2).sum())
    assert rank_correlations(maps, others) == [pytest.approx(1 - 6 * squares / (30 * (30**2 - 1)))]
    assert rank_correlations(maps, np.exp(maps / 10)) == [pytest.approx(1)]  # only the order counts
    assert rank_correlations(maps, -maps) == [pytest.approx(-1)]


def test_a_constant_map_has_none() -> None:
    maps = np.stack([np.zeros((4, 4)), np.eye(4)]).astype(np.float32)
    assert rank_correlations(maps, maps) == [None, pytest.approx(1)]
