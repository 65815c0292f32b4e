"""Images and masks moved together: scaled, turned, flipped and cut by one grid, so that they stay aligned."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from snellen.data.augment.framing import Mirrored
from snellen.data.batch import RawBatch
from snellen.data.masks.classes import IGNORE


@dataclass(frozen=True)
class Windows:
    """For each image: bring it to `scaled`, lay a window over it, turn the window about its centre, flip what it shows.

    scaled, corner, shown: (B, 2) int64 on the CPU: the new height and width; top and left of the window in pixels of
    the scaled image, it may reach beyond it; height and width of the window. degrees: (B,) counter-clockwise, as the
    picture turns.
    """

    scaled: Tensor
    corner: Tensor
    shown: Tensor
    degrees: Tensor
    mirrored: Mirrored


@dataclass(frozen=True)
class Warped:
    """pixels: (B, 3, h, w) float32 in [0, 255]. labels: (B, h, w) uint8, IGNORE where there is no image.

    covered: (B, h, w) bool, where there is an image; None for everywhere.
    """

    pixels: Tensor
    labels: Tensor
    covered: Tensor | None


def random_windows(
    sizes: Tensor,
    size: tuple[int, int] | None,
    scale: tuple[float, float],
    rotation: float,
    flips: tuple[float, float],
    generator: Generator,
) -> Windows:
    """Windows at a random place of randomly scaled images: torchvision's RandomResize by a factor, and RandomCrop.

    sizes: (B, 2) int64. size: height and width of the window; it lies inside the scaled image, or around it where that
    is smaller. None: the whole image. scale: of both sides, uniform. rotation: uniform in ± so many degrees. flips:
    chances of a left-right and of an upside-down flip.
    """
    count = len(sizes)
    draws = torch.rand(6, count, generator=generator, dtype=torch.float64)
    factor = scale[0] + (scale[1] - scale[0]) * draws[0]
    scaled = (sizes * factor[:, None]).round().long().clamp(min=1)
    shown = scaled if size is None else torch.tensor(size).expand(count, 2)
    free = scaled - shown  # (B, 2), below zero where the window is the larger
    corner = (draws[1:3].T * (free.abs() + 1)).floor().long() * free.sign()
    degrees = (2 * draws[3] - 1) * rotation
    return Windows(scaled, corner, shown, degrees, Mirrored(draws[4] < flips[0], draws[5] < flips[1]))


def warp(images: RawBatch, masks: Tensor, windows: Windows) -> Warped:
    """What the windows show of images and masks.

    images: pixels and masks, (B, 1, H, W) uint8, of equal sizes, on one device; images.sizes on the CPU. Images are
    sampled bilinearly, of masks each pixel takes the class at its centre. Beyond an image its border is repeated; so it
    is beyond a window that is smaller than the largest one of the batch. Reducing is not antialiased: to half the size
    every pixel still has its share, below that some are passed over.
    """
    canvas = windows.shown.max(0).values.tolist()
    still = bool((windows.degrees == 0).all()) and bool((windows.scaled == images.sizes).all())
    if still:
        return _copied(images, masks, windows, canvas[0], canvas[1])
    return _sampled(images, masks, windows, canvas[0], canvas[1])


def _copied(images: RawBatch, masks: Tensor, windows: Windows, height: int, width: int) -> Warped:
    device, total = images.pixels.device, images.pixels.shape[3]
    canvas = torch.tensor([height, width])
    index, inside = [], []
    flips = (windows.mirrored.upside_down, windows.mirrored.sideways)
    for axis in (0, 1):
        line = torch.arange(int(canvas[axis])).expand(len(masks), -1)  # (B, h) or (B, w)
        shown, size = windows.shown[:, axis, None], images.sizes[:, axis, None]
        within = line < shown
        line = torch.where(flips[axis][:, None], shown - 1 - line, line) + windows.corner[:, axis, None]
        inside.append((within & (line >= 0) & (line < size)).to(device))
        index.append(line.clamp(min=0).minimum(size - 1).to(device))
    if bool(torch.stack([each.all() for each in inside]).all()):
        covered = None
    else:
        covered = inside[0][:, :, None] & inside[1][:, None, :]  # (B, h, w)
    flat = (index[0][:, :, None] * total + index[1][:, None, :]).flatten(1)  # (B, h * w)
    shape = (len(masks), 3, height, width)
    pixels = images.pixels.flatten(2).gather(2, flat[:, None].expand(-1, 3, -1)).view(shape).float()
    labels = masks.flatten(1).gather(1, flat).view(len(masks), height, width)
    return Warped(pixels, labels if covered is None else labels.masked_fill_(~covered, IGNORE), covered)


def _sampled(images: RawBatch, masks: Tensor, windows: Windows, height: int, width: int) -> Warped:
    device = images.pixels.device
    count, _, rows, columns = images.pixels.shape
    pixels = torch.empty(count, 3, height, width, device=device)
    labels = torch.empty(count, height, width, dtype=torch.uint8, device=device)
    covered = torch.empty(count, height, width, dtype=torch.bool, device=device)
    plan = [part.to(device) for part in _plan(images.sizes, windows)]
    sizes = images.sizes.float().to(device)
    total = torch.tensor([columns, rows], device=device)
    step = 1 if device.type == "cpu" else count  # one by one, what is in between stays in the processor's cache
    for start in range(0, count, step):
        part = slice(start, start + step)
        right, down, centre, shown = (each[part] for each in plan)
        place, within = _places(right, down, centre, shown, height, width)
        extent = sizes[part, None, None].flip(3)  # (b, 1, 1, 2), width and height
        inside = ((place >= 0) & (place < extent)).all(3) & within
        pixel = torch.minimum(place.clamp(min=0.5), extent - 0.5)  # centres of the outermost pixels: the border repeats
        grid = pixel * (2 / total) - 1
        pixels[part] = F.grid_sample(images.pixels[part].float(), grid, align_corners=False, padding_mode="border")
        x, y = torch.minimum(place.clamp(min=0), extent - 1).long().unbind(3)
        chosen = masks[part].flatten(1).gather(1, (y * columns + x).flatten(1)).view_as(inside)
        labels[part], covered[part] = chosen.masked_fill_(~inside, IGNORE), inside
    return Warped(pixels, labels, covered)


def _plan(sizes: Tensor, windows: Windows) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """right, down: (B, 2): how x and y in the source grow with a step to the right and down in the window.

    Also the window's centre in the source, (B, 2) x and y, and the window's size, (B, 2) width and height.
    """
    turn = torch.deg2rad(windows.degrees.double())
    sideways, upside_down = (
        1 - 2 * flips.double() for flips in (windows.mirrored.sideways, windows.mirrored.upside_down)
    )
    shrink = (sizes / windows.scaled.double()).flip(1)  # (B, 2), source pixels in a scaled one, x and y
    right = torch.stack([turn.cos() * sideways, turn.sin() * sideways], dim=1) * shrink
    down = torch.stack([-turn.sin() * upside_down, turn.cos() * upside_down], dim=1) * shrink
    centre = (windows.corner + windows.shown / 2.0).flip(1) * shrink
    return right.float(), down.float(), centre.float(), windows.shown.flip(1)


def _places(
    right: Tensor, down: Tensor, centre: Tensor, shown: Tensor, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """(b, h, w, 2) x and y in the source, the first pixel spanning 0 … 1; (b, h, w) bool, inside of the window."""
    device = right.device
    column, row = torch.arange(width, device=device), torch.arange(height, device=device)
    u = column + 0.5 - shown[:, :1] / 2  # (b, w)
    v = row + 0.5 - shown[:, 1:] / 2  # (b, h)
    place = (
        centre[:, None, None] + u[:, None, :, None] * right[:, None, None] + v[:, :, None, None] * down[:, None, None]
    )
    within = (column < shown[:, :1])[:, None, :] & (row < shown[:, 1:])[:, :, None]
    return place, within
