"""Whether an exported file gives a run's answers: probabilities of the same images compared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.words import counted

TIE = 2e-3  # two best probabilities that differ by no more may change places
LARGEST = 1e-3  # difference of a probability


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

    def __str__(self) -> str:
        ties = f"; of {self.ties:,} whose two best differ by at most {TIE:g}, {self.ties_changed:,} changed"
        return (
            f"{counted(self.images, 'validation image')} and {self.odd:,} generated ones, fp32 on the CPU: another "
            f"top-1 in {self.different:,} of {self.images + self.odd - self.ties:,}{ties}; largest difference of a "
            f"probability {self.largest:.1e}"
        )


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
