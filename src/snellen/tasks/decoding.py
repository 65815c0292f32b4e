"""From image files to stored pixels, for tasks on whole images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn

from snellen.data.augment.pipeline import evaluation_view, stored_image
from snellen.data.augment.spec import AugmentationSpec, EvaluationTransformSpec
from snellen.data.cache import Pixels, load_pixels
from snellen.data.decode import decode
from snellen.data.disk_cache import DiskCache, Entry
from snellen.data.feed import Feed
from snellen.data.fingerprint import is_large
from snellen.data.listing import DataSpec, ImageSet, Unreadable
from snellen.data.rereading import Rereading, state_of
from snellen.data.store import CacheBudget, PixelStore
from snellen.data.unlabelled import UnlabelledSpec
from snellen.data.unreadable import UnreadableImageError, unreadable_files
from snellen.errors import UserError
from snellen.models.airnet import AirNet
from snellen.randomness import derive
from snellen.words import counted

_WHITENING_IMAGES = 5000


class ImageRecipe(Protocol):
    """The part of a recipe that says how images are presented to the network."""

    @property
    def augmentation(self) -> AugmentationSpec:
        """In training."""

    @property
    def evaluation(self) -> EvaluationTransformSpec:
        """In scoring."""


def decode_images(
    images: ImageSet, recipe: ImageRecipe, spec: DataSpec, budget: CacheBudget, console: Console, crops: bool
) -> tuple[ImageSet, Decoded, Decoded]:
    """Pixels of the training and of the validation images; unreadable ones left out if `spec` says so.

    budget: memory for them. crops: whether training images are augmented; otherwise they are only seen as in
    evaluation.
    """
    sides = images.train, images.validation
    files = [[images.root / sample.path for sample in samples] for samples in sides]
    ahead = decodes_ahead([*files[0], *files[1]], spec)
    decoded = [
        decode_paths(paths, recipe, spec, budget, console, crops and not number, ahead)
        for number, paths in enumerate(files)
    ]
    usable = [tuple(samples[row] for row in part.rows) for samples, part in zip(sides, decoded, strict=True)]
    if not usable[0] or not usable[1]:
        raise UserError(f"{images.root}: no readable {'validation' if usable[0] else 'training'} images are left.")
    if len({sample.label for sample in usable[0]}) < 2:
        raise UserError(f"{images.root}: fewer than two classes have readable training images.")
    left_out = (*decoded[0].left_out, *decoded[1].left_out)
    images = dataclasses.replace(images, train=usable[0], validation=usable[1], left_out=left_out)
    return images, decoded[0], decoded[1]


@dataclasses.dataclass(frozen=True)
class Decoded:
    """pixels: of the readable files, for crops. views: the same files as evaluation sees them.

    If there are crops, views are read from the files again on demand. rows: indices of the readable files in the list.
    left_out: the others.
    """

    pixels: Pixels
    views: Pixels
    rows: list[int]
    left_out: tuple[Unreadable, ...]


def decode_paths(
    paths: Sequence[Path],
    recipe: ImageRecipe,
    spec: DataSpec | UnlabelledSpec,
    budget: CacheBudget,
    console: Console,
    crops: bool,
    ahead: bool = True,
) -> Decoded:
    """Decodes image files, for crops or as evaluation sees them.

    ahead: at once, else as they are needed, so that unreadable ones are found as they are met. Raises UserError for
    unreadable ones unless `spec` skips them.
    """
    augmentation, evaluation = recipe.augmentation, recipe.evaluation
    side, bits = augmentation.stored_side, spec.bits
    reading = f"stored {side} {augmentation.interpolation} {bits}"
    view = view_reader(evaluation, bits, budget.disk)

    def stored(path: Path) -> Entry:
        return Entry(stored_image(decode(path, enough=side, bits=bits), augmentation))

    def stored_or_kept(path: Path) -> Tensor:
        return budget.disk.fetch(path, reading, stored).pixels

    read = stored_or_kept if crops else view
    pixels, failed = _decoded(paths, read, spec, budget, console) if ahead else (_to_decode(paths, read, budget), [])
    unreadable = {error.path for error in failed}
    rows = [row for row, path in enumerate(paths) if path not in unreadable]
    left_out = tuple(Unreadable(str(error.path), error.reason) for error in failed)
    if not crops:
        return Decoded(pixels, pixels, rows, left_out)
    readable = [paths[row] for row in rows]
    is_whole = side is None  # whole images are stored: no file has to be read again
    views = Pixels(
        lambda row: evaluation_view(pixels.image(row), evaluation) if is_whole else view(readable[row]),
        [None] * len(readable),
        PixelStore(budget),
        budget=budget.part(spec.cache_mib // 4),
    )
    return Decoded(pixels, views, rows, left_out)


def decodes_ahead(paths: Sequence[Path], spec: DataSpec | UnlabelledSpec) -> bool:
    """Whether all are decoded before the first step: unless that takes minutes, and if `spec` leaves some out."""
    return spec.unreadable == "skip" or not is_large(paths)


def _to_decode(paths: Sequence[Path], read: Callable[[Path], Tensor], budget: CacheBudget) -> Pixels:
    files = Rereading()
    for path in paths:
        files.add(path, state_of(path))
    unread: list[Tensor | None] = [None] * len(paths)
    return Pixels(lambda row: read(files.path(row)), unread, PixelStore(budget), budget=budget)


def _decoded(
    paths: Sequence[Path],
    read: Callable[[Path], Tensor],
    spec: DataSpec | UnlabelledSpec,
    budget: CacheBudget,
    console: Console,
) -> tuple[Pixels, list[UnreadableImageError]]:
    """The pixels of the readable files, and the errors of the others, which `spec` leaves out or raises."""
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("decoding", total=len(paths))
        pixels, failed = load_pixels(paths, read, budget, lambda done: bar.update(task, completed=done))
    if failed and spec.unreadable == "error":
        raise unreadable_files(failed, "files")
    if failed:
        console.print(f"[yellow]note:[/] {counted(len(failed), 'unreadable image')} left out, listed in data.json")
    return pixels, failed


def view_reader(spec: EvaluationTransformSpec, bits: int | None, disk: DiskCache) -> Callable[[Path], Tensor]:
    """A function that reads an image file as evaluation sees it. bits: as in `decode`."""
    reading = f"view {spec.size} {spec.resize} {spec.squash} {spec.interpolation} {bits}"

    def view(path: Path) -> Entry:
        return Entry(evaluation_view(decode(path, bits=bits), spec))

    return lambda path: disk.fetch(path, reading, view).pixels


def whiten(backbone: nn.Module, feed: Feed) -> None:
    """Whitens the first layer of an airnet backbone on training images as evaluation sees them; else does nothing."""
    if not isinstance(backbone, AirNet):
        return
    count = min(_WHITENING_IMAGES, len(feed.targets))
    generator = torch.Generator().manual_seed(derive(feed.seed, "whitening"))
    rows = torch.randperm(len(feed.targets), generator=generator)[:count].numpy()
    backbone.whiten(batch.images.cpu() for batch in feed.evaluate(rows))
