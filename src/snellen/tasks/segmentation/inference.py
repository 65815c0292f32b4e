"""Masks of image files of any size by a segmentation network, in bounded memory."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.data.batch import Normalizer
from snellen.data.decode import UnreadableImageError
from snellen.data.in_memory import ImageInMemory, path_of
from snellen.data.masks.resize import TrainingSizes, evaluation_size, resize_image
from snellen.data.masks.spec import MaskEvaluationTransformSpec
from snellen.data.normalization import Normalization
from snellen.data.rasters import Raster, open_raster, pixels_of
from snellen.errors import UserError
from snellen.run.directory import RunDirectory
from snellen.tasks.arithmetic import Arithmetic, arithmetic_of
from snellen.tasks.segmentation.record import load_model, recipe_of
from snellen.tasks.segmentation.rescaled import Stretcher, read_resized
from snellen.tasks.segmentation.task import mask_logits
from snellen.tasks.segmentation.tiling import ALIGN, OVERLAP, TILE, Blender, Block, Tile, TilePlan, plan_tiles

Network = Callable[[Tensor], Tensor]
"""Normalised images (B, 3, h, w) float32 to logits (B, C, h, w)."""
Scoring = Callable[[Sequence[NDArray[np.uint8]], tuple[int, int]], Tensor]
"""Tiles, (h, w, 3) uint8 each, padded with the mean colour to (height, width): logits (B, C, height, width)."""

_SMALL = 4_000_000  # pixels up to which an image is decoded in advance, and resized as a whole
_BATCH_PIXELS = {"cuda": 8_000_000, "cpu": 600_000}  # in a batch of tiles
_BATCH_SCORES = 500_000_000  # numbers in the logits of a batch, at most
Item = TypeVar("Item")


@dataclass(frozen=True)
class Rows:
    """Finished rows of an image, in its full width; they come from top to bottom, image after image.

    raster: the image, open until the item after its last rows is requested. labels: (n, w) uint8, the most probable
    class. probabilities: (n, w, C) float16, None if not requested.
    """

    path: Path
    raster: Raster
    top: int
    labels: NDArray[np.uint8]
    probabilities: NDArray[np.float16] | None

    @property
    def last(self) -> bool:
        """Whether these rows complete the image."""
        return self.top + len(self.labels) == self.raster.height


@dataclass
class _Image:
    """An image in progress, with its unfinished rows."""

    path: Path
    raster: Raster
    plan: TilePlan
    blender: Blender | None = None
    stretcher: Stretcher | None = None  # if the image goes through the network at another size
    labels: NDArray[np.uint8] = field(default_factory=lambda: np.empty((0, 0), np.uint8))
    probabilities: NDArray[np.float16] | None = None


@dataclass(frozen=True)
class _Piece:
    """A tile's pixels, (height, width, 3) uint8."""

    image: _Image
    tile: Tile
    pixels: NDArray[np.uint8]


class NetworkScoring:
    """Logits of tiles by a torch network. network: on `device`, in evaluation mode. layout: of its input."""

    def __init__(
        self,
        network: Network,
        normalization: Normalization,
        device: torch.device,
        layout: torch.memory_format = torch.contiguous_format,
    ) -> None:
        self._network, self._device, self._layout = network, device, layout
        self._normalised = Normalizer(normalization, device)

    def __call__(self, tiles: Sequence[NDArray[np.uint8]], size: tuple[int, int]) -> Tensor:
        """See Scoring."""
        pixels = torch.zeros(len(tiles), *size, 3, dtype=torch.uint8)
        for canvas, tile in zip(pixels, tiles, strict=True):
            canvas[: tile.shape[0], : tile.shape[1]] = torch.from_numpy(tile)
        images = self._normalised(pixels.to(self._device).permute(0, 3, 1, 2), white=255)
        for canvas, tile in zip(images, tiles, strict=True):
            canvas[:, tile.shape[0] :] = 0
            canvas[:, :, tile.shape[1] :] = 0
        return self._network(images.contiguous(memory_format=self._layout))


class TiledPredictor:
    """Runs a network over images by overlapping tiles, several tiles at once, reading ahead while it computes.

    Held in memory: the image as stored in its file (GeoTIFF and large TIFF: nothing), the open rows of tiles, a few
    tiles. score: the network, with logits on `device`. classes: C. tile, overlap: px, see `plan_tiles`; an image that
    fits into one tile goes through whole. transform, training: the size that images are brought to, see
    `evaluation_size` (scores are then stretched back to the image's size), and the multiple of pixels that they are
    padded to with the mean colour.
    """

    def __init__(
        self,
        score: Scoring,
        classes: int,
        device: torch.device,
        *,
        tile: int = TILE,
        overlap: int = OVERLAP,
        transform: MaskEvaluationTransformSpec | None = None,
        training: TrainingSizes | None = None,
        bits: int | None = None,
    ) -> None:
        self._score, self._classes, self._device, self._bits = score, classes, device, bits
        self._tile, self._overlap, self._transform = tile, overlap, transform or MaskEvaluationTransformSpec()
        self._training = training

    def predict(
        self, paths: Sequence[Path | ImageInMemory], probabilities: bool = False
    ) -> Iterator[Rows | UnreadableImageError]:
        """Rows of all images in their order; an error for an image that proves unreadable, even after some rows."""
        with ThreadPoolExecutor(os.cpu_count()) as pool, torch.inference_mode():
            for batch in _ahead(self._batches(self._pieces(pool, paths))):
                if isinstance(batch, UnreadableImageError):
                    yield batch
                    continue
                logits = self._score([piece.pixels for piece in batch], batch[0].image.plan.size)
                for piece, scores in zip(batch, logits, strict=True):
                    image = piece.image
                    if image.blender is None:
                        image.blender = Blender(image.plan, self._classes, self._device)
                    for rows in self._rows(image, image.blender.add(scores), probabilities):
                        yield rows
                        if rows.last:
                            image.raster.close()

    def _pieces(
        self, pool: ThreadPoolExecutor, paths: Sequence[Path | ImageInMemory]
    ) -> Iterator[_Piece | UnreadableImageError]:
        for opened in _opened(pool, paths, self._bits):
            if isinstance(opened, UnreadableImageError):
                yield opened
                continue
            path, raster = opened
            size = raster.height, raster.width
            input_size = evaluation_size(size, self._transform.resize, self._training)
            multiple = self._transform.multiple
            align = multiple if max(input_size) <= self._tile else math.lcm(ALIGN, multiple)
            image = _Image(path, raster, plan_tiles(*input_size, self._tile, self._overlap, align))
            if input_size != size:
                image.stretcher = Stretcher(input_size, size)
            try:
                is_small = size[0] * size[1] <= _SMALL
                resized = _resized(raster, input_size) if input_size != size and is_small else None
                for tile in image.plan.tiles:
                    window = tile.top, tile.left, tile.height, tile.width
                    if input_size == size:
                        pixels = raster.read(*window)
                    elif resized is None:
                        pixels = read_resized(raster, input_size, tile)
                    else:
                        pixels = _part(resized, *window)
                    yield _Piece(image, tile, pixels)
            except UnreadableImageError as error:
                raster.close()
                yield error

    def _batches(
        self, pieces: Iterable[_Piece | UnreadableImageError]
    ) -> Iterator[list[_Piece] | UnreadableImageError]:
        """Batches of consecutive tiles of one size."""
        batch: list[_Piece] = []
        for piece in pieces:
            size = None if isinstance(piece, UnreadableImageError) else piece.image.plan.size
            if batch and size != batch[0].image.plan.size:
                yield batch
                batch = []
            if isinstance(piece, UnreadableImageError):
                yield piece
                continue
            batch.append(piece)
            if len(batch) == self._tiles_at_once(piece.image.plan.size):
                yield batch
                batch = []
        if batch:
            yield batch

    def _tiles_at_once(self, size: tuple[int, int]) -> int:
        pixels = min(_BATCH_PIXELS.get(self._device.type, _BATCH_PIXELS["cpu"]), _BATCH_SCORES // self._classes)
        return max(1, pixels // (size[0] * size[1]))

    def _rows(self, image: _Image, block: Block, probabilities: bool) -> Iterator[Rows]:
        """The rows that a block completes, at the image's own size."""
        if image.stretcher is None:
            if self._collect(image, block, probabilities):
                yield Rows(image.path, image.raster, block.top, image.labels, image.probabilities)
            return
        for band in image.stretcher.add(block):
            self._collect(image, band, probabilities)
            yield Rows(image.path, image.raster, band.top, image.labels, image.probabilities)

    def _collect(self, image: _Image, block: Block, probabilities: bool) -> bool:
        """Puts a block into the open band of rows; returns whether the band is full."""
        _, height, width = block.scores.shape
        if block.left == 0:
            image.labels = np.empty((height, image.raster.width), np.uint8)
            if probabilities:
                image.probabilities = np.empty((height, image.raster.width, self._classes), np.float16)
        columns = slice(block.left, block.left + width)
        image.labels[:, columns] = block.scores.max(0).indices.to(torch.uint8).cpu().numpy()
        if image.probabilities is not None:
            image.probabilities[:, columns] = block.scores.softmax(0).half().permute(1, 2, 0).cpu().numpy()
        return bool(columns.stop == image.raster.width)


def _resized(raster: Raster, size: tuple[int, int]) -> NDArray[np.uint8]:
    """A whole image at another size, (height, width, 3), as validation resizes it."""
    pixels = torch.from_numpy(raster.read(0, 0, raster.height, raster.width)).permute(2, 0, 1)
    return np.asarray(resize_image(pixels, size).permute(1, 2, 0).contiguous())


def _part(pixels: NDArray[np.uint8], top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
    return pixels[top : top + height, left : left + width]


def predictor_of(
    run: RunDirectory,
    tile: int = TILE,
    overlap: int = OVERLAP,
    bits: int | None = None,
    arithmetic: Arithmetic | None = None,
) -> TiledPredictor:
    """The chosen epoch's network of a segmentation run, with the run's own arithmetic or another.

    bits: of 16-bit images, if they differ from the run's.
    Raises UserError if the run has no weights or the tiles are impossible.
    """
    recipe = recipe_of(run)
    transform = recipe.evaluation
    check_tiles(tile, overlap, transform)
    arithmetic = arithmetic or arithmetic_of(run, recipe)
    model = load_model(run, "best").to(arithmetic.device)
    arithmetic.mode.apply(model)

    def network(images: Tensor) -> Tensor:
        return mask_logits(model, images, arithmetic.autocast, transform.flip)

    return TiledPredictor(
        NetworkScoring(network, arithmetic.normalization, arithmetic.device, arithmetic.mode.memory_format),
        len(run.classes),
        arithmetic.device,
        tile=tile,
        overlap=overlap,
        transform=transform,
        training=training_sizes(run.data),
        bits=bits or recipe.data.bits,
    )


def check_tiles(tile: int, overlap: int, transform: MaskEvaluationTransformSpec) -> None:
    """Raises UserError for tiles that are impossible."""
    align = math.lcm(ALIGN, transform.multiple)
    try:
        plan_tiles(tile, tile, tile, overlap, align)
    except ValueError as error:
        raise UserError(
            f"tile={tile}, overlap={overlap}: expected an overlap of at most half a tile, both in steps of {align} px."
        ) from error


def training_sizes(data: Mapping[str, Any]) -> TrainingSizes | None:
    """Sizes of the training images of a segmentation run; None for runs that did not record them. data: data.json."""
    sizes = data.get("training_sizes")
    if sizes is None:
        return None
    median, largest = ((int(height), int(width)) for height, width in (sizes["median"], sizes["largest"]))
    return TrainingSizes(median, largest, sizes["median_shorter"], sizes["largest_shorter"])


_Opened = tuple[Path, Raster]


def _opened(
    pool: ThreadPoolExecutor, paths: Sequence[Path | ImageInMemory], bits: int | None
) -> Iterator[_Opened | UnreadableImageError]:
    """Images in their order; small ones are decoded in advance, large ones when needed."""

    def attempt(path: Path | ImageInMemory) -> _Opened | UnreadableImageError:
        try:
            return path_of(path), open_raster(path, bits)
        except UnreadableImageError as error:
            return error

    remaining = iter(paths)
    waiting: deque[tuple[Path | ImageInMemory, Future[_Opened | UnreadableImageError] | None]] = deque()
    while True:
        while len(waiting) < 2 * (os.cpu_count() or 1) and (path := next(remaining, None)) is not None:
            waiting.append((path, pool.submit(attempt, path) if 0 < pixels_of(path) <= _SMALL else None))
        if not waiting:
            return
        path, future = waiting.popleft()
        yield attempt(path) if future is None else future.result()


def _ahead(items: Iterator[Item], depth: int = 2) -> Iterator[Item]:
    """The same items, each computed in another thread while earlier ones are used."""
    with ThreadPoolExecutor(1) as pool:
        waiting = deque(pool.submit(next, items, None) for _ in range(depth))
        while (item := waiting.popleft().result()) is not None:
            waiting.append(pool.submit(next, items, None))
            yield item
