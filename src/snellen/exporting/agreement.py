"""Whether an exported file gives a run's answers: probabilities or masks of the same images compared."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from snellen.words import counted

TIE = 2e-3  # two best probabilities that differ by no more may change places
LARGEST = 1e-3  # difference of a probability
MOST_CHANGED = 1e-4  # of the pixels of all masks
MASK_IMAGES = 50  # validation images whose masks are compared, at most


class AnyAgreement(Protocol):
    """The answers of a file compared with those of its run; as text: what was found."""

    @property
    def holds(self) -> bool:
        """Whether the file gives the run's answers."""

    @property
    def expected(self) -> str:
        """What was expected, as text."""


@dataclass(frozen=True)
class Agreement:
    """The answers of a file compared with those of its run, both computed in fp32 on a CPU.

    images: of the run's validation images. odd: images generated for the comparison, of unusual sizes and kinds.
    different: how many of all have another most probable class, although the run's two best differ by more than TIE;
    ties: how many have two best closer than that, and ties_changed: how many of these another most probable class.
    largest: difference of a probability.
    """

    images: int
    odd: int
    different: int
    ties: int
    ties_changed: int
    largest: float

    @property
    def holds(self) -> bool:
        """Whether the file gives the run's answers."""
        return self.different == 0 and self.largest <= LARGEST

    @property
    def expected(self) -> str:
        """What was expected, as text."""
        return f"no other top-1, and a difference of at most {LARGEST:g}"

    def __str__(self) -> str:
        ties = f"; of {self.ties:,} whose two best differ by at most {TIE:g}, {self.ties_changed:,} changed"
        return (
            f"{counted(self.images, 'validation image')} and {self.odd:,} generated ones, fp32 on the CPU: another "
            f"top-1 in {self.different:,} of {self.images + self.odd - self.ties:,}{ties}; largest difference of a "
            f"probability {self.largest:.1e}"
        )


@dataclass(frozen=True)
class MaskAgreement:
    """The masks of a file compared with those of its run, both computed in fp32 on a CPU.

    images: of the run's validation images. odd: images generated for the comparison. pixels: of all their masks.
    different: of these, those with another class. worst: the largest share of such pixels in an image.
    """

    images: int
    odd: int
    pixels: int
    different: int
    worst: float

    @property
    def holds(self) -> bool:
        """Whether the file gives the run's masks."""
        return self.different <= MOST_CHANGED * self.pixels

    @property
    def expected(self) -> str:
        """What was expected, as text."""
        return f"at most {MOST_CHANGED:.2%} of the pixels"

    def __str__(self) -> str:
        return (
            f"{counted(self.images, 'validation image')} and {self.odd:,} generated ones, fp32 on the CPU: another "
            f"class in {self.different:,} of {counted(self.pixels, 'pixel')}; at most {self.worst:.2%} of an image"
        )


def mask_agreement(pairs: Iterable[tuple[NDArray[np.uint8], NDArray[np.uint8]]], odd: int) -> MaskAgreement:
    """Compares masks of the run and of the file, (H, W) each; the last `odd` pairs are of generated images."""
    sizes, changed = [], []
    for reference, exported in pairs:
        sizes.append(reference.size)
        changed.append(int((reference != exported).sum()))
    worst = max((count / size for count, size in zip(changed, sizes, strict=True)), default=0.0)
    return MaskAgreement(len(sizes) - odd, odd, sum(sizes), sum(changed), worst)


def agreement(reference: NDArray[np.float32], exported: NDArray[np.float32], odd: int) -> Agreement:
    """Compares probabilities, (N, C) each; the last `odd` of the images are generated ones. C is at least 2."""
    best = np.sort(reference, axis=1)
    tied = best[:, -1] - best[:, -2] <= TIE
    changed = reference.argmax(1) != exported.argmax(1)
    return Agreement(
        images=len(reference) - odd,
        odd=odd,
        different=int((changed & ~tied).sum()),
        ties=int(tied.sum()),
        ties_changed=int((changed & tied).sum()),
        largest=float(np.nan_to_num(np.abs(reference - exported), nan=np.inf).max()),
    )
