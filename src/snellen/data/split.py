"""Training and validation images told apart by a hash of their content."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from snellen.data.fingerprint import share_of_hash, text_hash
from snellen.randomness import derive


def validation_rows(
    labels: Sequence[str], hashes: Sequence[str], groups: Sequence[str | None], share: float
) -> tuple[set[int], list[str]]:
    """Rows of the images that are scored, and notes worth telling.

    An image is scored when its hash, read as a number in [0, 1), is below `share`: adding images moves none of the
    others, and equal files stay together. With groups it is the hash of the group's name, so that a group stays whole.
    A class that would have no image on one side gives its nearest one (or group) to it: only then may a later
    addition move it back. labels, hashes, groups: one for each image.
    """
    keys = [digest if group is None else text_hash(group) for digest, group in zip(hashes, groups, strict=True)]
    places = [share_of_hash(key) for key in keys]
    chosen = {row for row, place in enumerate(places) if place < share}
    notes = []
    by_class: dict[str, list[int]] = defaultdict(list)
    for row, label in enumerate(labels):
        by_class[label].append(row)
    for label, rows in sorted(by_class.items()):
        distinct = {keys[row] for row in rows}
        if len(distinct) < 2:
            notes.append(f"class '{label}' has only one image (or group), which cannot be split")
            chosen -= set(rows)
            continue
        scored = [row for row in rows if row in chosen]
        if not scored:
            nearest = min(rows, key=lambda row: places[row])
            chosen |= {row for row, key in enumerate(keys) if key == keys[nearest]}
        elif len(scored) == len(rows):
            farthest = max(rows, key=lambda row: places[row])
            chosen -= {row for row, key in enumerate(keys) if key == keys[farthest]}
    return chosen, notes


def fraction_rows(labels: Sequence[int], fraction: float, seed: int) -> list[int]:
    """Rows of a share of the images, sorted: of each class the nearest number to the share, at least one.

    labels: one for each image. The rows of a smaller fraction are among those of a larger one with the same seed.
    """
    by_class: dict[int, list[int]] = defaultdict(list)
    for row, label in enumerate(labels):
        by_class[label].append(row)
    chosen: list[int] = []
    for label, rows in by_class.items():
        shuffled = np.random.default_rng(derive(seed, "fraction", label)).permutation(rows)
        chosen += shuffled[: max(1, round(fraction * len(rows)))].tolist()
    return sorted(chosen)
