"""How well `snellen check` finds masks that do not fit their images.

FOLDER: images with masks, in any layout that snellen reads. Masks of a random share of the images are moved by some
pixels in a random direction, or exchanged with that of another image; 100 times. Prints the average precision of the
ranking that `check` uses, with the standard deviation over the draws, and how many masks it names.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from sklearn.metrics import average_precision_score
from torch import Tensor

from snellen.data.decode import decode
from snellen.data.masks.decode import decode_mask
from snellen.data.masks.fit import Fit, fit
from snellen.data.masks.sources import read_masked
from snellen.data.masks.spec import MaskDataSpec
from snellen.insight.misfits import Misfits, find_misfits

Change = Callable[[int], Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pixels", type=int, nargs="+", default=[2, 3, 4, 6, 9])
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    images, masks = load(options.folder)
    rng = np.random.default_rng(options.seed)
    as_is = fits_of(images, lambda row: masks[row])
    found = find_misfits(as_is)
    print(
        f"as they are: {found.judged} judged, {found.fitting} fit, {len(found.moved)} moved, {len(found.unlike)} unlike"
    )
    directions = rng.uniform(0, 2 * np.pi, len(masks))

    def moved_by(distance: int) -> Change:
        return lambda row: moved(
            masks[row], round(distance * np.sin(directions[row])), round(distance * np.cos(directions[row]))
        )

    for distance in options.pixels:
        report(f"moved by {distance} px", as_is, fits_of(images, moved_by(distance)), options.share, options.draws, rng)
    others = [row for row in range(len(masks)) if masks[row].shape == masks[0].shape]
    partner = {row: others[(place + len(others) // 4) % len(others)] for place, row in enumerate(others)}
    exchanged = fits_of(images, lambda row: masks[partner.get(row, row)])
    report("exchanged", as_is, exchanged, options.share, options.draws, rng)


def load(folder: Path) -> tuple[list[Tensor], list[Tensor]]:
    spec = MaskDataSpec()
    found = read_masked(folder, spec)
    samples = [*found.train, *found.validation, *found.test]
    reading = spec.reading(found.classes)
    images = [decode(found.root / sample.path) for sample in track(samples, "reading", transient=True)]
    masks = [
        decode_mask(found.root / sample.mask, reading, (image.shape[1], image.shape[2]))
        for sample, image in zip(samples, images, strict=True)
    ]
    return images, masks


def fits_of(images: list[Tensor], mask_of: Change) -> dict[int, Fit]:
    found = {row: fit(image, mask_of(row)) for row, image in enumerate(track(images, "fitting", transient=True))}
    return {row: value for row, value in found.items() if value is not None}


def moved(mask: Tensor, down: int, right: int) -> Tensor:
    rows, columns = (
        torch.arange(side).sub(move).clamp(0, side - 1) for side, move in zip(mask.shape, (down, right), strict=True)
    )
    return mask[rows][:, columns]


def report(
    name: str, as_is: dict[int, Fit], changed: dict[int, Fit], share: float, draws: int, rng: np.random.Generator
) -> None:
    rows = sorted(as_is.keys() & changed.keys())
    planted = round(share * len(rows))
    precisions, hits, named = [], 0, 0
    for _ in range(draws):
        chosen = set(rng.permutation(rows)[:planted].tolist())
        found = find_misfits({row: changed[row] if row in chosen else as_is[row] for row in rows})
        scores = ranking(found)
        precisions.append(
            average_precision_score([row in chosen for row in rows], [scores.get(row, 0) for row in rows])
        )
        hits += len(chosen & scores.keys())
        named += len(scores)
    print(
        f"{name}: average precision {np.mean(precisions):.3f} (s.d. {np.std(precisions):.3f}, lowest "
        f"{np.min(precisions):.3f}); {hits:,} of {draws * planted:,} found, {named - hits:,} others named "
        f"({draws} draws of {planted} in {len(rows)})"
    )


def ranking(found: Misfits) -> dict[int, float]:
    """The masks that are named: moved ones, the clearest first, then those that fit nowhere."""
    return {misfit.row: 1 + misfit.excess for misfit in found.moved} | dict.fromkeys(found.unlike, 1.0)


if __name__ == "__main__":
    main()
