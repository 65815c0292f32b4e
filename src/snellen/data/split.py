"""Training and validation images told apart by a hash of their content."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from snellen.data.fingerprint import share_of_hash, text_hash
from snellen.data.sample_size import named_classes
from snellen.randomness import derive


def validation_rows(
    labels: Sequence[str], hashes: Sequence[str], groups: Sequence[str | None], share: float
) -> tuple[set[int], list[str]]:
    """Rows of the images that are scored, and notes worth telling.

    An image is scored when its hash, read as a number in [0, 1), is below `share`: adding images moves none of the
    others, and equal files stay together, whatever their classes. With groups it is the hash of the group's name, so
    that a group stays whole. A class that would have no image on one side gives its nearest one (or group) to it:
    only then may a later addition move it back. Training comes first: it keeps at least one image (or group) of every
    class, so that a class with a single one is not scored. labels, hashes, groups: one for each image.
    """
    keys = [digest if group is None else text_hash(group) for digest, group in zip(hashes, groups, strict=True)]
    position = {key: share_of_hash(key) for key in keys}
    classes_of: dict[str, set[str]] = defaultdict(set)
    keys_of: dict[str, set[str]] = defaultdict(set)
    for key, label in zip(keys, labels, strict=True):
        classes_of[key].add(label)
        keys_of[label].add(key)
    scored = _trainable({key for key in position if position[key] < share}, keys_of, position)
    scored = _all_scored(scored, keys_of, classes_of, position)
    what = "image" if all(group is None for group in groups) else "group"
    return {row for row, key in enumerate(keys) if key in scored}, _unscored_notes(scored, keys_of, what)


def _trainable(scored: set[str], keys_of: dict[str, set[str]], position: dict[str, float]) -> set[str]:
    """`scored` less what training needs: for each class that it would not see, the key farthest from being scored."""
    left = set(scored)
    for label in sorted(keys_of):
        if keys_of[label] <= left:
            left.remove(max(keys_of[label], key=lambda key: (position[key], key)))
    return left


def _all_scored(
    scored: set[str], keys_of: dict[str, set[str]], classes_of: dict[str, set[str]], position: dict[str, float]
) -> set[str]:
    """`scored` with a key for each class that has none, as far as training keeps a key of every class.

    Keys are only added, so that no later class undoes what an earlier one was given; a key that would be the last of
    a class in training stays there, or, where that helps, changes sides with another key of that class.
    """
    done = set(scored)
    for label in sorted(keys_of):
        if len(keys_of[label]) < 2 or keys_of[label] & done:
            continue
        for key in sorted(keys_of[label], key=lambda key: (position[key], key)):
            with_key = _with(key, done, keys_of, classes_of, position)
            if with_key is not None:
                done = with_key
                break
    return done


def _with(
    key: str,
    scored: set[str],
    keys_of: dict[str, set[str]],
    classes_of: dict[str, set[str]],
    position: dict[str, float],
) -> set[str] | None:
    """`scored` with `key` in it and every class still in training; None where no class can give one key back."""
    result = scored | {key}
    for label in sorted(classes_of[key]):
        if not keys_of[label] <= result:
            continue
        spare = [
            other
            for other in keys_of[label] - {key}
            if all(keys_of[name] & (result - {other}) for name in classes_of[other])
        ]
        if not spare:
            return None
        result.remove(max(spare, key=lambda other: (position[other], other)))
    return result


def _unscored_notes(scored: set[str], keys_of: dict[str, set[str]], what: str) -> list[str]:
    unscored = [label for label in sorted(keys_of) if not keys_of[label] & scored]
    single = [label for label in unscored if len(keys_of[label]) == 1]
    needed = [label for label in unscored if len(keys_of[label]) > 1]
    notes = []
    if single:
        notes.append(
            f"{named_classes(single)} only one {what}, which is learnt from: nothing can be said of how it is scored"
        )
    if needed:
        notes.append(f"{named_classes(needed)} no {what} to be scored: each is the last one of some class in training")
    return notes


def fraction_rows(labels: Sequence[int], fraction: float, seed: int, groups: Sequence[str | None]) -> list[int]:
    """Rows of a share of the images, sorted: of each class the nearest number to the share, at least one.

    Groups stay whole: of each class as many groups as come nearest to the share, at least one, in one order for all
    classes. labels, groups: one for each image. The rows of a smaller fraction are among those of a larger one with the
    same seed.
    """
    if any(group is not None for group in groups):
        return _rows_of_groups(labels, fraction, seed, groups)
    by_class: dict[int, list[int]] = defaultdict(list)
    for row, label in enumerate(labels):
        by_class[label].append(row)
    chosen: list[int] = []
    for label, rows in by_class.items():
        shuffled = np.random.default_rng(derive(seed, "fraction", label)).permutation(rows)
        chosen += shuffled[: max(1, round(fraction * len(rows)))].tolist()
    return sorted(chosen)


def _rows_of_groups(labels: Sequence[int], fraction: float, seed: int, groups: Sequence[str | None]) -> list[int]:
    rows_of: dict[tuple[str | None, int], list[int]] = defaultdict(list)  # an image without a group stands alone
    for row, group in enumerate(groups):
        rows_of[group, row if group is None else -1].append(row)
    units = list(rows_of.values())
    shuffled = [units[at] for at in np.random.default_rng(derive(seed, "fraction", "groups")).permutation(len(units))]
    chosen = set[int]()
    for label in sorted(set(labels)):
        counts = [sum(labels[row] == label for row in unit) for unit in shuffled]
        holders = [at for at, count in enumerate(counts) if count]
        reached = np.cumsum([counts[at] for at in holders])
        taken = int(np.abs(reached - fraction * reached[-1]).argmin()) + 1
        chosen |= {row for at in holders[:taken] for row in shuffled[at]}
    return sorted(chosen)
