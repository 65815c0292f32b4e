"""From decoded images and masks to network inputs, in batches on the training device.

Images and masks are transformed together: scaled, rotated, flipped and cropped by one grid, so they stay aligned.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from snellen.data.augment.appearance import change_appearance
from snellen.data.augment.draws import Draws, uniform
from snellen.data.augment.framing import Mirrored
from snellen.data.batch import Normalizer, RawBatch, sent
from snellen.data.masks.cache import RawPairs
from snellen.data.masks.classes import IGNORE
from snellen.data.masks.spec import MaskAugmentationSpec, MaskEvaluationTransformSpec
from snellen.data.normalization import Normalization


class MaskAugmentation:
    """Training and evaluation views of raw pairs, on `device`."""

    def __init__(
        self,
        spec: MaskAugmentationSpec,
        evaluation: MaskEvaluationTransformSpec,
        normalization: Normalization,
        device: torch.device,
    ) -> None:
        self._spec = spec
        self._evaluation = evaluation
        self._device = device
        self._normalised = Normalizer(normalization, device)

    def train(self, raw: RawPairs, draws: Draws) -> tuple[Tensor, Tensor]:
        """(B, 3, h, w) float32, normalised, and (B, h, w) uint8 class numbers, IGNORE where nothing is scored.

        draws: of this batch only; parameters are drawn on the CPU, so they are the same on every device.
        """
        spec = self._spec
        images = RawBatch(sent(raw.images.pixels, self._device), raw.images.sizes.cpu(), raw.images.uniform)
        windows = random_windows(images.sizes, spec, draws)
        warped = warp(images, sent(raw.masks.pixels, self._device), windows)
        pixels = warped.pixels.mul_(1 / 255)
        if spec.changes_pixels:
            pixels = change_appearance(pixels, spec, draws)
        pixels = self._normalised(pixels, white=1)
        if warped.covered is not None:
            pixels *= warped.covered[:, None]  # 0 is the mean
        return pixels, warped.labels

    def evaluate(self, images: RawBatch) -> Tensor:
        """(B, 3, h, w) float32, normalised: whole images, padded with the mean to a multiple of the spec's pixels."""
        multiple = self._evaluation.multiple
        count, channels, *sides = images.pixels.shape
        height, width = (-(-side // multiple) * multiple for side in sides)
        padded = torch.zeros(count, channels, height, width, device=self._device)
        normalised = self._normalised(sent(images.pixels, self._device), white=255)
        padded[:, :, : sides[0], : sides[1]] = normalised
        if not images.uniform:
            for canvas, (rows, columns) in zip(padded, images.sizes.tolist(), strict=True):
                canvas[:, rows:] = 0
                canvas[:, :, columns:] = 0
        return padded


@dataclass(frozen=True)
class Windows:
    """For each image: resize it to `scaled`, lay a window over it, rotate that about its centre, flip its content.

    scaled, corner, window: (B, 2) int64 on the CPU: the new height and width; top and left of the window in pixels of
    the scaled image, which it may extend beyond; height and width of the window. degrees: (B,) counter-clockwise
    rotation of the picture.
    """

    scaled: Tensor
    corner: Tensor
    window: Tensor
    degrees: Tensor
    mirrored: Mirrored


@dataclass(frozen=True)
class Warped:
    """pixels: (B, 3, h, w) float32 in [0, 255]. labels: (B, h, w) uint8, IGNORE outside the image.

    covered: (B, h, w) bool, True inside the image; None: everywhere.
    """

    pixels: Tensor
    labels: Tensor
    covered: Tensor | None


def random_windows(sizes: Tensor, spec: MaskAugmentationSpec, draws: Draws) -> Windows:
    """Windows at random positions of randomly scaled images: torchvision's RandomResize by a factor, and RandomCrop.

    sizes: (B, 2) int64. A window lies inside the scaled image, or around it if that is smaller. The scale is uniform,
    as is the rotation in both directions.
    """
    count, (smallest, largest) = len(sizes), spec.scale
    numbers = uniform(draws, count, leading=[6], dtype=torch.float64)
    factor = smallest + (largest - smallest) * numbers[0]
    scaled = (sizes * factor[:, None]).round().long().clamp(min=1)
    window = scaled if spec.size is None else torch.tensor(spec.size).expand(count, 2)
    free = scaled - window  # (B, 2), negative where the window is larger
    corner = (numbers[1:3].T * (free.abs() + 1)).floor().long() * free.sign()
    degrees = (2 * numbers[3] - 1) * spec.rotation
    return Windows(scaled, corner, window, degrees, Mirrored(numbers[4] < spec.flip, numbers[5] < spec.vertical_flip))


def warp(images: RawBatch, masks: Tensor, windows: Windows) -> Warped:
    """The contents of the windows, of images and masks.

    images: pixels and masks, (B, 1, H, W) uint8, of equal sizes, on one device; images.sizes on the CPU. Images are
    sampled bilinearly, masks at the centre of each pixel. Beyond an image its border is repeated, as it is beyond a
    window that is smaller than the largest one of the batch. Reducing is not antialiased: down to half the size every
    pixel still contributes, below that some are skipped.
    """
    canvas = windows.window.max(0).values.tolist()
    is_unmoved = bool((windows.degrees == 0).all()) and bool((windows.scaled == images.sizes).all())
    if is_unmoved:
        return _copied(images, masks, windows, canvas[0], canvas[1])
    return _sampled(images, masks, windows, canvas[0], canvas[1])


def _copied(images: RawBatch, masks: Tensor, windows: Windows, height: int, width: int) -> Warped:
    device, total = images.pixels.device, images.pixels.shape[3]
    canvas = torch.tensor([height, width])
    index, inside = [], []
    flips = (windows.mirrored.upside_down, windows.mirrored.sideways)
    for axis in (0, 1):
        line = torch.arange(int(canvas[axis])).expand(len(masks), -1)  # (B, h) or (B, w)
        window, size = windows.window[:, axis, None], images.sizes[:, axis, None]
        within = line < window
        line = torch.where(flips[axis][:, None], window - 1 - line, line) + windows.corner[:, axis, None]
        inside.append((within & (line >= 0) & (line < size)).to(device))
        index.append(line.clamp(min=0).minimum(size - 1).to(device))
    if bool(torch.stack([axis_inside.all() for axis_inside in inside]).all()):
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
    step = 1 if device.type == "cpu" else count  # one by one, intermediate values stay in the CPU cache
    for start in range(0, count, step):
        part = slice(start, start + step)
        right, down, centre, window = (tensor[part] for tensor in plan)
        position, within = _source_positions(right, down, centre, window, height, width)
        extent = sizes[part, None, None].flip(3)  # (b, 1, 1, 2), width and height
        inside = ((position >= 0) & (position < extent)).all(3) & within
        # Up to the centres of the outermost pixels: the border repeats.
        pixel = torch.minimum(position.clamp(min=0.5), extent - 0.5)
        grid = pixel * (2 / total) - 1
        pixels[part] = F.grid_sample(images.pixels[part].float(), grid, align_corners=False, padding_mode="border")
        x, y = torch.minimum(position.clamp(min=0), extent - 1).long().unbind(3)
        sampled = masks[part].flatten(1).gather(1, (y * columns + x).flatten(1)).view_as(inside)
        labels[part], covered[part] = sampled.masked_fill_(~inside, IGNORE), inside
    return Warped(pixels, labels, covered)


def _plan(sizes: Tensor, windows: Windows) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """right, down: (B, 2): the change of x and y in the source for a step to the right and down in the window.

    Also the window's centre in the source, (B, 2) x and y, and the window's size, (B, 2) width and height.
    """
    turn = torch.deg2rad(windows.degrees.double())
    sideways, upside_down = (
        1 - 2 * flips.double() for flips in (windows.mirrored.sideways, windows.mirrored.upside_down)
    )
    shrink = (sizes / windows.scaled.double()).flip(1)  # (B, 2), source pixels per scaled pixel, x and y
    right = torch.stack([turn.cos() * sideways, turn.sin() * sideways], dim=1) * shrink
    down = torch.stack([-turn.sin() * upside_down, turn.cos() * upside_down], dim=1) * shrink
    centre = (windows.corner + windows.window / 2.0).flip(1) * shrink
    return right.float(), down.float(), centre.float(), windows.window.flip(1)


def _source_positions(
    right: Tensor, down: Tensor, centre: Tensor, window: Tensor, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """(b, h, w, 2) x and y in the source, the first pixel spanning 0 … 1; (b, h, w) bool, inside the window."""
    device = right.device
    column, row = torch.arange(width, device=device), torch.arange(height, device=device)
    u = column + 0.5 - window[:, :1] / 2  # (b, w)
    v = row + 0.5 - window[:, 1:] / 2  # (b, h)
    position = (
        centre[:, None, None] + u[:, None, :, None] * right[:, None, None] + v[:, :, None, None] * down[:, None, None]
    )
    within = (column < window[:, :1])[:, None, :] & (row < window[:, 1:])[:, :, None]
    return position, within
