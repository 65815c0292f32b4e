"""How well the borders of a mask fit the edges of its image, also if the mask were moved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from snellen.data.masks.classes import IGNORE

REACH = 12  # px that a mask is moved in each direction
_LONGEST = 1024  # px of the longer side; larger images are reduced first
_SMOOTHING = (0.054, 0.244, 0.404, 0.244, 0.054)  # a Gaussian, sigma 1 px
_AROUND = 15  # px to each side, within which the strength of edges is compared
_FLAT = 1.0  # grey levels per px: edges weaker than this are noise
_STRONGEST = 3.0  # times the strength around; so that a few strong edges do not decide
_NARROWEST = 3  # px
_FEWEST = 50  # px of borders


@dataclass(frozen=True)
class Fit:
    """The strength of an image's edges under the borders of its mask, for each move of the mask.

    strength: (25, 25) float16. Entry (12 + down, 12 + right) is the sum of the strengths under the borders, less their
    mean in the image, over the root of the number of border pixels: the spread of a mask that lies on the image by
    chance does not depend on the length of its borders. by_chance: the largest entry, less the median one, of such a
    mask: the same, moved by half the image's sides and wrapped around. step: pixels of the image per row or column.
    """

    strength: NDArray[np.float16]
    by_chance: float
    step: int


def fit(image: Tensor, mask: Tensor) -> Fit | None:
    """How a mask fits. None if it has fewer than 50 pixels of borders between scored classes.

    image: (3, h, w) uint8. mask: (h, w), classes, 255 is not scored. An image with a longer side than 1,024 px is
    reduced first.
    """
    step = -(-max(mask.shape) // _LONGEST)
    if step > 1:
        if min(mask.shape) < step:
            return None
        image = F.avg_pool2d(image.float()[None], step)[0]
        mask = mask[step // 2 :: step, step // 2 :: step][: image.shape[1], : image.shape[2]]
    borders = _borders(mask)
    length = sum(float(border.sum()) for border in borders)
    if min(mask.shape) < _NARROWEST or length < _FEWEST:
        return None
    edges = [strength - strength.mean() for strength in _edges(image)]
    wrapped = [border.roll([side // 2 for side in border.shape], (0, 1)) for border in borders]
    at_place, elsewhere = (
        torch.stack([_correlation(edge, border) for edge, border in zip(edges, moved, strict=True)]).sum(0)
        / length**0.5
        for moved in (borders, wrapped)
    )
    return Fit(at_place.half().numpy(), float(elsewhere.max() - elsewhere.median()), step)


def _borders(mask: Tensor) -> list[Tensor]:
    """Borders between columns, (h, w - 1), and between rows, (h - 1, w): 1 where two scored classes meet, else 0."""
    scored = mask != IGNORE
    columns = (mask[:, 1:] != mask[:, :-1]) & scored[:, 1:] & scored[:, :-1]
    rows = (mask[1:] != mask[:-1]) & scored[1:] & scored[:-1]
    return [columns.float(), rows.float()]


def _edges(image: Tensor) -> list[Tensor]:
    """The strength of edges between columns and between rows, relative to the edges around; shapes as of `_borders`."""
    kernel = torch.tensor(_SMOOTHING)
    padded = F.pad(image.float()[:, None], (2, 2, 2, 2), mode="replicate")
    smooth = F.conv2d(F.conv2d(padded, kernel.view(1, 1, 1, 5)), kernel.view(1, 1, 5, 1))[:, 0]
    across = smooth.diff(dim=2).abs().amax(0)
    down = smooth.diff(dim=1).abs().amax(0)
    power = torch.zeros(image.shape[1:])
    power[:, :-1] += across**2
    power[:-1] += down**2
    width = 2 * _AROUND + 1
    # Beyond the image nothing is counted, so that its rim is not compared with zeros.
    around = F.avg_pool2d(power[None], (width, 1), 1, padding=(_AROUND, 0), count_include_pad=False)
    around = F.avg_pool2d(around, (1, width), 1, padding=(0, _AROUND), count_include_pad=False)[0].sqrt() + _FLAT
    return [(across / around[:, :-1]).clamp(max=_STRONGEST), (down / around[:-1]).clamp(max=_STRONGEST)]


def _correlation(edge: Tensor, border: Tensor) -> Tensor:
    """(25, 25): sums over pixels p of edge[p + move] * border[p], for moves of -12 to 12 rows and columns."""
    size = [side + 2 * REACH for side in edge.shape]
    spectrum = torch.fft.rfft2(edge, size) * torch.fft.rfft2(border, size).conj()
    moves: Tensor = torch.fft.irfft2(spectrum, size).roll((REACH, REACH), (0, 1))
    return moves[: 2 * REACH + 1, : 2 * REACH + 1]
