"""Random erasing: a rectangle of an image is blanked."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from snellen.data.augment.draws import Draws, uniform

_ATTEMPTS = 10  # as in torchvision: attempts at a rectangle that fits; then the image is left unchanged


def erase(
    images: Tensor, probability: float, scale: tuple[float, float], ratio: tuple[float, float], draws: Draws
) -> Tensor:
    """Sets a rectangle of some images to zero, the mean after normalisation, in place.

    images: (B, 3, H, W) normalised. scale: share of the area. ratio: height over width, drawn log-uniformly.
    The same distribution as torchvision's RandomErasing. Source: Zhong et al. 2017, arXiv 1708.04896, algorithm 1.
    """
    count, _, rows, columns = images.shape
    erased = uniform(draws, count) < probability
    numbers = uniform(draws, count, _ATTEMPTS, leading=[4], dtype=torch.float64)
    area = rows * columns * (scale[0] + (scale[1] - scale[0]) * numbers[0])
    bounds = math.log(ratio[0]), math.log(ratio[1])
    aspect = torch.exp(bounds[0] + (bounds[1] - bounds[0]) * numbers[1])
    height, width = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()  # (B, attempts)
    fits = (height < rows) & (width < columns)
    top, left = (numbers[2] * (rows - height + 1)).floor(), (numbers[3] * (columns - width + 1)).floor()
    first = fits.int().argmax(1)
    rectangles = torch.stack([top, left, height, width], dim=2)[torch.arange(count), first].long()
    for row in torch.nonzero(erased & fits.any(1))[:, 0].tolist():
        y, x, high, wide = rectangles[row].tolist()
        images[row, :, y : y + high, x : x + wide] = 0
    return images
