"""Masks that do not fit their images: as text, and as pictures on the page of a check."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.markup import escape

from snellen.data.masks.overlay import outlined
from snellen.errors import UserError
from snellen.insight.misfits import Misfits
from snellen.reporting.pictures import jpeg, photograph
from snellen.words import counted

_LISTED = 10
_MOST = 60  # with pictures
_SIDE = 300  # px of a picture's shorter side
_ASIDE = 2  # px that all masks may lie aside without a word


@dataclass(frozen=True)
class MaskFits:
    """How the masks of a set fit the edges of their images. found: rows are those of `masks`, their paths."""

    masks: tuple[str, ...]
    found: Misfits

    @property
    def sentences(self) -> list[str]:
        """What was found, in words."""
        found, sentences = self.found, []
        masks = counted(found.judged, "mask")
        if found.judged and not found.moved and not found.unlike:
            sentences.append(
                f"{found.fitting:,} of {masks} fit the edges of their images, and none fits better elsewhere"
            )
        if found.moved:
            sentences.append(f"{len(found.moved):,} of {masks} fit the edges of their image better elsewhere")
        if found.unlike:
            sentences.append(
                f"{len(found.unlike):,} of {masks} fit the edges of their image nowhere; are they its own?"
            )
        if max(map(abs, found.common)) >= _ASIDE:
            sentences.append(f"the masks of this set fit best if all are moved {move_in_words(*found.common)}")
        return sentences

    def lines(self) -> list[str]:
        """The same for a terminal, with the first masks by name."""
        lines = [f"masks: {escape(sentence)}" for sentence in self.sentences]
        lines += [
            f"[yellow]mask:[/] {escape(self.masks[misfit.row])}: fits better {move_in_words(misfit.down, misfit.right)}"
            for misfit in self.found.moved[:_LISTED]
        ]
        lines += [f"[yellow]mask:[/] {escape(self.masks[row])}: fits nowhere" for row in self.found.unlike[:_LISTED]]
        more = sum(max(0, len(entries) - _LISTED) for entries in (self.found.moved, self.found.unlike))
        return [*lines, *([f"… and {more:,} more: --report shows them, --json lists them"] if more else [])]

    def as_dict(self) -> dict[str, Any]:
        """For JSON. Moves are in pixels of the image."""
        found = self.found
        return {
            "judged": found.judged,
            "fitting": found.fitting,
            "common_move": dict(zip(("down", "right"), found.common, strict=True)),
            "moved": [
                {"mask": self.masks[misfit.row], "down": misfit.down, "right": misfit.right, "excess": misfit.excess}
                for misfit in found.moved
            ],
            "unlike": [self.masks[row] for row in found.unlike],
        }


def move_in_words(down: int, right: int) -> str:
    """A move in pixels: "6 px down and 2 px left"."""
    steps = [(down, "down", "up"), (right, "right", "left")]
    return " and ".join(f"{abs(step)} px {ahead if step > 0 else back}" for step, ahead, back in steps if step)


@dataclass(frozen=True)
class MisfitPicture:
    """A mask, what is wrong with it in words, and its borders over its image: as they are, and moved where they fit."""

    name: str
    text: str
    as_is: str | None
    moved: str | None


@dataclass(frozen=True)
class MisfitSection:
    """The part of the page of a check on masks. count: masks that do not fit."""

    sentences: Sequence[str]
    count: int
    pictures: Sequence[MisfitPicture]


def misfit_section(
    fits: MaskFits, image_of: Callable[[int], Path], mask_of: Callable[[int], NDArray[np.uint8]], bits: int | None
) -> MisfitSection:
    """The section. image_of, mask_of: the file of a row's image, and its mask, (h, w). bits: as in `decode`."""

    def picture(row: int, down: int = 0, right: int = 0) -> MisfitPicture:
        text = f"fits better {move_in_words(down, right)}" if down or right else "fits nowhere"
        image = photograph(image_of(row), _SIDE, bits)
        try:
            mask = None if image is None else mask_of(row)
        except UserError:
            mask = None
        if image is None or mask is None:
            return MisfitPicture(fits.masks[row], text, None, None)
        moved = jpeg(outlined(image, mask, down, right)) if down or right else None
        return MisfitPicture(fits.masks[row], text, jpeg(outlined(image, mask)), moved)

    found = fits.found
    shown = [picture(misfit.row, misfit.down, misfit.right) for misfit in found.moved[:_MOST]]
    shown += [picture(row) for row in found.unlike[: _MOST - len(shown)]]
    return MisfitSection(fits.sentences, len(found.moved) + len(found.unlike), shown)
