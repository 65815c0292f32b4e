"""A check of a folder of images with masks, before any training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, NoReturn

import numpy as np
from numpy.typing import NDArray
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.progress import track
from rich.table import Table
from rich.text import Text

from snellen.data.copies.found import Copies
from snellen.data.decode import UnreadableImageError, decode, opened_image
from snellen.data.depth import settle_bits
from snellen.data.given import check_path
from snellen.data.listing import Source, Unreadable
from snellen.data.masks.classes import IGNORE
from snellen.data.masks.decode import decode_mask
from snellen.data.masks.fit import Fit, fit
from snellen.data.masks.overlay import sheet
from snellen.data.masks.sources import MaskedSample, MaskedSet, read_masked
from snellen.data.masks.spec import MaskDataSpec
from snellen.data.spread import spread
from snellen.errors import UserError
from snellen.files import replacing
from snellen.insight.misfits import find_misfits
from snellen.recipe.load import load_as
from snellen.reporting.misfits import MaskFits, MisfitSection, misfit_section
from snellen.tasks.checking import copy_lines, find_copies, listed_files, refuse_features, set_numbers
from snellen.tasks.segmentation.recipe import SegmentationRecipe
from snellen.words import counted

_MOST_SIZES = 4
_MOST_NAMED = 5
FIELDS = frozenset({"data.image_pattern", "data.mask_pattern"})  # only images with masks have them


@dataclass(frozen=True, repr=False)
class MaskCheck:
    """images: the index. sizes: number of pairs of each (width, height). formats: number of masks of each kind.

    train, validation: (C + 1,) int64, pixels of each class, the unscored ones last. train_masks, validation_masks:
    (C + 1,) int64, masks that have such pixels. unreadable: pairs that cannot be used, and why. overlays: the files
    drawn. notes: on the values of 16-bit images. bits: their depth. copies: among the images, whatever their masks.
    unscored, uniform: masks without a scored pixel, and with one class only. fits: of masks on their
    images' edges. spec: how masks are read.
    """

    images: MaskedSet
    sizes: dict[tuple[int, int], int]
    formats: dict[str, int]
    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    train_masks: NDArray[np.int64]
    validation_masks: NDArray[np.int64]
    unreadable: list[Unreadable]
    overlays: list[Path]
    notes: list[str]
    bits: int | None
    copies: Copies
    unscored: list[str]
    uniform: list[str]
    fits: MaskFits
    spec: MaskDataSpec
    suspects: ClassVar[None] = None

    def __repr__(self) -> str:
        return f"MaskCheck of {self.images!r}; {counted(len(self.unreadable), 'pair')} that cannot be used"

    def render(self) -> RenderableType:
        """As text."""
        images, table = self.images, Table(box=None, pad_edge=False)
        for column in ("", "class", "training pixels", "masks", "validation pixels", "masks"):
            table.add_column(column, justify="left" if column in {"", "class"} else "right")
        scored = self.train[:-1].sum(), self.validation[:-1].sum()
        for label, (name, colour) in enumerate(zip(images.classes.names, images.classes.colours, strict=True)):
            swatch = Text("██", style=f"rgb({colour[0]},{colour[1]},{colour[2]})")
            table.add_row(swatch, escape(name), *_row(self, label, scored))
        all_pixels = self.train.sum(), self.validation.sum()
        table.add_row("", "[dim]not scored[/]", *_row(self, len(images.classes), all_pixels))
        table.add_row(
            "", "[bold]pairs[/]", "", f"[bold]{len(images.train):,}[/]", "", f"[bold]{len(images.validation):,}[/]"
        )
        sizes = [f"{width} x {height} px ({number:,})" for (width, height), number in self.sizes.items()]
        more = [f"{counted(len(sizes) - _MOST_SIZES, 'other size')}"] if len(sizes) > _MOST_SIZES else []
        kinds = ", ".join(f"{number:,} {kind}" for kind, number in self.formats.items())
        lines = [
            f"{images.root}: {images.layout}; {images.split}"
            + (f"; {counted(len(images.test), 'test pair')}, scored once, at the end" if images.test else ""),
            f"sizes: {', '.join([*sizes[:_MOST_SIZES], *more]) or 'none'}; masks: {kinds or 'none'}",
            f"not scored: {images.classes.ignored_text}; shares are of scored pixels, in the last row of all pixels",
        ]
        text = [escape(line) for line in lines]
        text += [f"[yellow]note:[/] {escape(note)}" for note in (*images.notes, *self.notes, *_missing(self))]
        text += [*map(escape, self._sameness()), *self.fits.lines()]
        text += listed_files("unpaired", images.left_out, "data.unpaired=skip")
        text += listed_files("unusable", self.unreadable, "data.unreadable=skip")
        text += copy_lines(self.copies)
        if self.overlays:
            text.append(escape(f"{counted(len(self.overlays), 'overlay')} drawn in {self.overlays[0].parent}"))
        return Group(table, "", *text)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        images = self.images
        counts = {
            "training_pixels": self.train,
            "training_masks": self.train_masks,
            "validation_pixels": self.validation,
            "validation_masks": self.validation_masks,
        }
        return {
            **set_numbers(images),
            "classes": {
                name: {key: int(values[label]) for key, values in counts.items()}
                for label, name in enumerate(images.classes.names)
            },
            "ignored": {key: int(values[-1]) for key, values in counts.items()},
            "sizes": [{"width": w, "height": h, "pairs": number} for (w, h), number in self.sizes.items()],
            "formats": self.formats,
            "notes": [*images.notes, *self.notes, *_missing(self)],
            "unpaired": [asdict(entry) for entry in images.left_out],
            "unreadable": [asdict(entry) for entry in self.unreadable],
            "unscored_masks": self.unscored,
            "masks_of_one_class": self.uniform,
            "mask_fits": self.fits.as_dict(),
            "copies": self.copies.as_dict(),
        }

    def mask_section(self) -> MisfitSection:
        """How the masks fit their images, with pictures of those that do not."""
        root, reading = self.images.root, self.spec.reading(self.images.classes)
        samples = [*self.images.train, *self.images.validation, *self.images.test]  # in the order of the fits

        def mask_of(row: int) -> NDArray[np.uint8]:
            return decode_mask(root / samples[row].mask, reading).numpy()

        return misfit_section(self.fits, lambda row: root / samples[row].path, mask_of, self.bits)

    def _sameness(self) -> list[str]:
        lines = []
        for names, what in ((self.unscored, "without a scored pixel"), (self.uniform, "of one class only")):
            if names:
                more = ", …" if len(names) > _MOST_NAMED else ""
                lines.append(f"{counted(len(names), 'mask')} {what}: {', '.join(names[:_MOST_NAMED])}{more}")
        return lines

    def split_table(self) -> NoReturn:
        """Not possible."""
        raise UserError(f"{self.images.root}: a table names no masks, so there is no split to write. Omit --split.")


def check(
    data: Source,
    overrides: Mapping[str, Any],
    out: Path | None,
    overlays: int,
    console: Console,
    why: str = "",
    features: str | Path | None = None,
) -> MaskCheck:
    """Reads and decodes every pair of `data`, as training would.

    out: a folder for `overlays` overlays, evenly spaced over the pairs. Raises UserError where training would, except
    for files without a partner and for pairs that cannot be used, which are listed.
    """
    refuse_features(features, data)
    if out is not None and out.exists() and not out.is_dir():
        raise UserError(f"{out}: not a folder. Choose another for the overlays.")
    spec = load_as(SegmentationRecipe, {"task": "segmentation"}, overrides).data
    images = read_masked(check_path(data), spec.model_copy(update={"unpaired": "skip"}), compare=True)
    samples = [*images.train, *images.validation, *images.test]
    reading = spec.reading(images.classes)
    sizes: Counter[tuple[int, int]] = Counter()
    formats: Counter[str] = Counter()
    unreadable: list[Unreadable] = []
    pixels = np.zeros((len(samples), len(images.classes) + 1), dtype=np.int64)
    fits: dict[int, Fit] = {}
    sides = [[images.root / sample.path for sample in side] for side in (images.train, images.validation)]
    bits, notes = settle_bits(spec.bits, *sides)

    def check_pair(sample: MaskedSample) -> _Pair | UnreadableImageError:
        path = images.root / sample.mask
        try:
            image = decode(images.root / sample.path, bits=bits)
            height, width = image.shape[1:]
            mask = decode_mask(path, reading, (height, width))
        except UnreadableImageError as error:
            return error
        counts = np.bincount(mask.numpy().ravel(), minlength=IGNORE + 1)
        with opened_image(path) as opened:
            kind = f"{opened.format} {opened.mode}"
        counts = np.append(counts[: len(images.classes)], counts[IGNORE])
        return _Pair((width, height), kind, counts, fit(image, mask))

    with ThreadPoolExecutor() as pool:
        results = pool.map(check_pair, samples)
        for row, result in enumerate(track(results, "decoding", len(samples), console=console, transient=True)):
            if isinstance(result, UnreadableImageError):
                unreadable.append(Unreadable(str(result.path), result.reason))
                continue
            sizes[result.size] += 1
            formats[result.kind] += 1
            pixels[row] = result.pixels
            if result.fit is not None:
                fits[row] = result.fit
    train, validation, _ = np.split(pixels, [len(images.train), len(images.train) + len(images.validation)])
    unusable = {entry.path for entry in unreadable}
    usable = [s for s in samples if not {str(images.root / s.mask), str(images.root / s.path)} & unusable]
    scored, decoded = pixels[:, :-1] > 0, pixels.sum(1) > 0
    files = [] if out is None else _draw(images, spread(tuple(usable), overlays), spec, bits, out)
    return MaskCheck(
        images=images,
        sizes=dict(sizes.most_common()),
        formats=dict(formats.most_common()),
        train=train.sum(0),
        validation=validation.sum(0),
        train_masks=(train > 0).sum(0),
        validation_masks=(validation > 0).sum(0),
        unreadable=unreadable,
        overlays=files,
        notes=notes,
        bits=bits,
        copies=find_copies(images, bits, console),
        unscored=[sample.mask for sample, has_none in zip(samples, decoded & ~scored.any(1), strict=True) if has_none],
        uniform=[sample.mask for sample, has_one in zip(samples, scored.sum(1) == 1, strict=True) if has_one],
        fits=MaskFits(tuple(sample.mask for sample in samples), find_misfits(fits)),
        spec=spec,
    )


@dataclass(frozen=True)
class _Pair:
    """An image and its mask. size: (width, height). kind: of the mask's file. pixels: (C + 1,), as in MaskCheck."""

    size: tuple[int, int]
    kind: str
    pixels: NDArray[np.int64]
    fit: Fit | None


def _row(check: MaskCheck, label: int, totals: tuple[int, int]) -> list[str]:
    cells = []
    sides = ((check.train, check.train_masks), (check.validation, check.validation_masks))
    for (pixels, masks), total in zip(sides, totals, strict=True):
        cells += [f"{pixels[label] / max(1, total):.2%}", f"{masks[label]:,}"]
    return cells


def _missing(check: MaskCheck) -> list[str]:
    notes = []
    for label, name in enumerate(check.images.classes.names):
        if not check.train[label] and not check.validation[label]:
            notes.append(f"class '{name}' occurs in no mask")
        elif not check.train[label]:
            notes.append(f"class '{name}' is never seen in training")
        elif not check.validation[label]:
            notes.append(f"class '{name}' occurs in no validation mask, so it cannot be scored")
    return notes


def _draw(
    images: MaskedSet, samples: Sequence[MaskedSample], spec: MaskDataSpec, bits: int | None, folder: Path
) -> list[Path]:
    files = []
    for sample in samples:
        image = decode(images.root / sample.path, bits=bits).permute(1, 2, 0).numpy()
        mask = decode_mask(images.root / sample.mask, spec.reading(images.classes)).numpy()
        path = folder / f"{str(PurePosixPath(sample.path).with_suffix('')).replace('/', '__')}.png"
        with replacing(path) as temporary:
            sheet(image, mask, images.classes).save(temporary, format="PNG")
        files.append(path)
    return files
