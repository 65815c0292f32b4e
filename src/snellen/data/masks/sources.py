"""From a folder of images and masks to an index of pairs, split in two, with their classes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from snellen.data.fingerprint import combined, content_hashes, identities, is_large, uncompared_note
from snellen.data.leaks import leak_notes
from snellen.data.listing import LabelledImage, Source, SplitSet, grouped
from snellen.data.masks.classes import ClassTable
from snellen.data.masks.find_classes import find_classes, given_entries
from snellen.data.masks.pairing import Pairing, find_pairs
from snellen.data.masks.spec import MaskDataSpec
from snellen.data.passed_over import passed_over_note
from snellen.data.sample_size import few_masks_notes
from snellen.data.shards.sources import data_path
from snellen.data.split import scored_part, split_images
from snellen.data.walk import files_below
from snellen.errors import UserError
from snellen.words import shortened

_MOST_LISTED = 5


@dataclass(frozen=True)
class MaskedSample:
    """path, mask: of image and mask, relative to the root, with forward slashes. group: the image's, if known."""

    path: str
    mask: str
    group: str | None = None

    @property
    def files(self) -> tuple[str, str]:
        """Image and mask."""
        return self.path, self.mask


@dataclass(frozen=True, repr=False)
class MaskedSet(SplitSet[MaskedSample, ClassTable]):
    """Images with masks of one source."""

    @property
    def counts(self) -> str:
        """The number of images of each part, in words."""
        return f"{super().counts} with masks"


def is_masked(data: Source) -> bool:
    """Whether `data` is a folder of images with masks, judging by names alone."""
    if not isinstance(data, str | Path):
        return False
    root = data_path(data)
    return root.is_dir() and find_pairs(root, None, None) is not None


def read_masked(data: str | Path, spec: MaskDataSpec, compare: bool = False) -> MaskedSet:
    """The images and masks of a folder, split into training and validation, and test if it has such a part.

    compare: by content, even so many images that come with a split that it takes minutes. Raises UserError, with the
    file or folder, if it cannot be used; files without a partner are left out and listed if `spec` says so.
    """
    root, pairing = _pairs(data, spec)
    images = grouped([LabelledImage(pair.image, "", pair.side) for pair in pairing.pairs], spec.group)
    files, masks = [root / pair.image for pair in pairing.pairs], [root / pair.mask for pair in pairing.pairs]
    by_content = compare or any(pair.side == "unknown" for pair in pairing.pairs) or not is_large([*files, *masks])
    hashes = identities(files, [pair.image for pair in pairing.pairs], by_content)
    mask_hashes = identities(masks, [pair.mask for pair in pairing.pairs], by_content)
    if len(images) < 2 and pairing.pairs[0].side == "unknown":
        raise UserError(
            f"{root}: only one image with a mask; expected at least two, one for training and one for validation."
        )
    split = split_images(images, hashes, spec.group, spec.validation_share, root)
    sides, notes = split.sides, [*pairing.notes, *split.notes]
    missing = {"train", "validation"} - set(sides)
    if missing:
        part = "training" if "train" in missing else "validation"
        raise UserError(f"{root}: no {part} images. All images belong to one group, or have the same content.")
    notes += [*leak_notes(images, sides, hashes), *few_masks_notes(sides.count("validation"))]
    if not by_content:
        notes.append(uncompared_note(len(images)))
    classes, class_notes = find_classes(masks, spec.classes, spec.class_table, table_folders(root))
    samples = [
        MaskedSample(pair.image, pair.mask, image.group) for pair, image in zip(pairing.pairs, images, strict=True)
    ]
    rows = zip(sides, pairing.pairs, hashes, mask_hashes, strict=True)
    lines = [f"{side} {digest} {mask_digest} {pair.image}" for side, pair, digest, mask_digest in rows]
    lines.append(f"classes {classes.names} {classes.coding} {classes.values} {classes.keys}")
    return MaskedSet(
        root=root,
        layout=pairing.layout,
        split=split.text,
        classes=classes,
        train=tuple(sample for sample, side in zip(samples, sides, strict=True) if side == "train"),
        validation=tuple(sample for sample, side in zip(samples, sides, strict=True) if side == "validation"),
        fingerprint=combined(lines),
        notes=(*notes, *class_notes),
        left_out=pairing.unpaired,
        test=tuple(sample for sample, side in zip(samples, sides, strict=True) if side == "test"),
        by_content=by_content,
    )


def masks_to_score(data: str | Path, spec: MaskDataSpec, known: ClassTable) -> MaskedSet:
    """All pairs of `data` as validation pairs, for scoring a trained run; if `data` is split, only its validation part.

    known: the run's class table, for reading masks without a table of their own. Raises UserError if the classes differ
    from those of the run or their order.
    """
    root, pairing = _pairs(data, spec)
    pairs, split = scored_part(pairing.pairs)
    masks = [root / pair.mask for pair in pairs]
    table, notes = known, list[str]()
    if spec.class_table or given_entries(spec.classes, spec.class_table, table_folders(root))[0]:
        table, notes = find_classes(masks, spec.classes, spec.class_table, table_folders(root))
    if table.names != known.names:
        raise UserError(
            f"{root}: its classes ({', '.join(table.names)}) are not those of the run ({', '.join(known.names)}). Put "
            "the run's class table next to the images, as classes.txt."
        )
    images = grouped([LabelledImage(pair.image, "", pair.side) for pair in pairs], spec.group)
    hashes = content_hashes([root / pair.image for pair in pairs])
    mask_hashes = content_hashes(masks)
    samples = [MaskedSample(pair.image, pair.mask, image.group) for pair, image in zip(pairs, images, strict=True)]
    fingerprint = combined(f"{digest} {mask}" for digest, mask in zip(hashes, mask_hashes, strict=True))
    return MaskedSet(
        root=root,
        layout=pairing.layout,
        split=split,
        classes=table,
        train=(),
        validation=tuple(samples),
        fingerprint=fingerprint,
        notes=(*pairing.notes, *notes),
        left_out=pairing.unpaired,
    )


def _pairs(data: str | Path, spec: MaskDataSpec) -> tuple[Path, Pairing]:
    root = data_path(data)
    if not root.is_dir():
        raise UserError(f"{data}: no such folder; expected one with images and masks.")
    pairing = find_pairs(root, spec.image_pattern, spec.mask_pattern)
    # Files of text are tables of classes.
    note = passed_over_note(root, [name for name in files_below(root) if not name.endswith(".txt")])
    if pairing is None or not pairing.pairs:
        raise UserError(
            f"{root}: no images with masks; expected folders images/ and masks/ whose files have the same names, or "
            r"names such as 0013_sat.jpg and 0013_mask.png; or set data.image_pattern and data.mask_pattern."
            f"{f' {note}.' if note else ''}"
        )
    if pairing.unpaired and spec.unpaired == "error":
        lines = shortened([f"{root / entry.path}: {entry.reason}" for entry in pairing.unpaired], _MOST_LISTED)
        raise UserError("\n".join([*lines, "To leave such files out and list them: data.unpaired=skip"]))
    return root, replace(pairing, notes=(*pairing.notes, note)) if note else pairing


def table_folders(root: Path) -> list[Path]:
    """The folders where a class table may be: the root, and those directly below it."""
    return [root, *sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))]
