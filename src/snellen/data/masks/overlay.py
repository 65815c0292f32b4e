"""Masks drawn over their images, for visual inspection."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from snellen.data.masks.classes import IGNORE, ClassTable, Rgb

_SMALLEST_PANEL = 256  # px
_LINE = 22  # px per line of the legend
_OUTLINE = (255, 235, 60)
_HATCH = 6  # px from one stripe to the next in unscored areas
_LETTER = 7.2  # px per letter of the legend, approximately


def coloured(mask: NDArray[np.uint8], colours: Sequence[Rgb]) -> NDArray[np.uint8]:
    """(h, w, 3): each class in its colour. Unscored pixels get grey stripes, which no class has."""
    lookup = np.zeros((IGNORE + 1, 3), dtype=np.uint8)
    lookup[: len(colours)] = np.array(colours, dtype=np.uint8).reshape(-1, 3)
    drawn = lookup[mask]
    ignored = mask == IGNORE
    if ignored.any():
        diagonal = np.add.outer(np.arange(mask.shape[0]), np.arange(mask.shape[1]))
        stripes = np.where(diagonal % _HATCH < _HATCH // 2, 60, 150).astype(np.uint8)
        drawn[ignored] = stripes[ignored][:, None]
    return drawn


def overlaid(
    image: NDArray[np.uint8], mask: NDArray[np.uint8], colours: Sequence[Rgb], opacity: float = 0.5
) -> NDArray[np.uint8]:
    """(h, w, 3): classes blended over an (h, w, 3) image, with their borders in full colour."""
    drawn = coloured(mask, colours)
    blended = image + opacity * (drawn.astype(np.float32) - image)
    blended = blended.round().astype(np.uint8)
    border = _borders(mask)
    blended[border] = drawn[border]
    return blended


def _borders(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(h, w): pixels of another class than their neighbour to the left or above."""
    border = np.zeros(mask.shape, dtype=bool)
    border[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    border[1:] |= mask[1:] != mask[:-1]
    return border


def tinted(
    image: NDArray[np.uint8], mask: NDArray[np.uint8], colours: Sequence[Rgb], opacity: float = 0.5
) -> NDArray[np.uint8]:
    """(h, w, 3): an (h, w, 3) image under the colours of its classes; what is not scored stays as it is."""
    lookup = np.zeros((IGNORE + 1, 3))
    lookup[: len(colours)] = np.array(colours).reshape(-1, 3)
    alpha = np.where(mask == IGNORE, 0, opacity)[..., None]
    return np.round((1 - alpha) * image + alpha * lookup[mask]).astype(np.uint8)


def outlined(image: Image.Image, mask: NDArray[np.uint8], down: int = 0, right: int = 0) -> Image.Image:
    """An image with the borders of its mask, moved by some pixels of the mask, as yellow lines.

    mask: (H, W), as large as the image or larger.
    """
    rows, columns = (
        np.clip(np.arange(side) - move, 0, side - 1) for side, move in zip(mask.shape, (down, right), strict=True)
    )
    border = _borders(mask[rows][:, columns]).astype(np.uint8)
    lines = Image.fromarray(border * 255).resize(image.size, Image.Resampling.BOX)
    result = image.copy()
    result.paste(_OUTLINE, mask=lines.point(lambda value: min(255, 3 * value)))
    return result


def sheet(image: NDArray[np.uint8], mask: NDArray[np.uint8], table: ClassTable) -> Image.Image:
    """The image, the overlay and the mask side by side, enlarged if small, with a legend of the classes."""
    factor = max(1, _SMALLEST_PANEL // min(mask.shape))
    image, mask = (array.repeat(factor, axis=0).repeat(factor, axis=1) for array in (image, mask))
    panels = np.concatenate([image, overlaid(image, mask, table.colours), coloured(mask, table.colours)], axis=1)
    present = [label for label in np.unique(mask).tolist() if label != IGNORE]
    legend = [(table.names[label], table.colours[label]) for label in present]
    width = panels.shape[1]
    positions, lines = _legend_positions([name for name, _ in legend] + ["not scored"], width)
    result = Image.new("RGB", (width, panels.shape[0] + lines * _LINE + 6), "white")
    result.paste(Image.fromarray(panels), (0, 0))
    draw, font = ImageDraw.Draw(result), ImageFont.load_default(13)
    top = panels.shape[0] + 3
    for (name, colour), (x, line) in zip(legend, positions, strict=False):
        y = top + line * _LINE
        draw.rectangle((x, y + 4, x + 14, y + 18), fill=colour, outline="black")
        draw.text((x + 20, y + 3), name, fill="black", font=font)
    if (mask == IGNORE).any():
        x, y = positions[-1][0], top + positions[-1][1] * _LINE
        stripes = coloured(np.full((15, 15), IGNORE, dtype=np.uint8), ())
        result.paste(Image.fromarray(stripes), (x, y + 4))
        draw.text((x + 20, y + 3), "not scored", fill="black", font=font)
    return result


def _legend_positions(names: Sequence[str], width: int) -> tuple[list[tuple[int, int]], int]:
    """The start of each entry of the legend, (x, line), and the number of lines."""
    positions, x, line = [], 6, 0
    for name in names:
        length = round(34 + _LETTER * len(name))
        if x > 6 and x + length > width:
            x, line = 6, line + 1
        positions.append((x, line))
        x += length
    return positions, line + 1
