"""The split into training and validation images, by a hash of their content."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from snellen.data.fingerprint import share_of_hash, text_hash
from snellen.data.leaks import neighbour_notes
from snellen.data.listing import LabelledImage, Side, SplitSet
from snellen.data.sample_size import named_classes
from snellen.randomness import derive
from snellen.words import counted


class _Split(Protocol):
    """An image that may come with its part."""

    @property
    def side(self) -> Side:
        """Its part."""


AnySplit = TypeVar("AnySplit", bound=_Split)
AnySet = TypeVar("AnySet", bound=SplitSet[Any, Any])


@dataclass(frozen=True)
class Split:
    """sides: the part of each image. text: how they were split, in words. notes: for people."""

    sides: list[Side]
    text: str
    notes: list[str]
    is_given: bool


def split_images(images: list[LabelledImage], hashes: list[str], group: str | None, share: float, root: Path) -> Split:
    """The split that comes with the images, or else one by content or group, with `share` of them for validation.

    group: data.group.
    """
    if any(image.side != "unknown" for image in images):
        return Split([image.side for image in images], "split as given", [], is_given=True)
    labels, groups = [image.label for image in images], [image.group for image in images]
    validation, notes = validation_rows(labels, hashes, groups, share)
    sides: list[Side] = ["validation" if row in validation else "train" for row in range(len(images))]
    text = f"{share:.0%} held out by {'group' if group else 'content hash'}"
    return Split(sides, text, notes if group else [*notes, *neighbour_notes(root, images)], is_given=False)


def scored_part(images: Sequence[AnySplit]) -> tuple[list[AnySplit], str]:
    """The validation part, or all images if there is none, for scoring a trained run; and which, in words."""
    scored = [image for image in images if image.side == "validation"] or list(images)
    others = counted(len(images) - len(scored), "other is", "others are")
    return scored, f"the validation part; {others} left out" if len(scored) < len(images) else "all scored"


def fewer(images: AnySet, labels: Sequence[int], fraction: float, seed: int) -> AnySet:
    """The set with only a share of its training images: data.fraction. labels: of these."""
    if fraction == 1:
        return images
    rows = fraction_rows(labels, fraction, seed, [sample.group for sample in images.train])
    return replace(images, train=tuple(images.train[row] for row in rows))


def validation_rows(
    labels: Sequence[str], hashes: Sequence[str], groups: Sequence[str | None], share: float
) -> tuple[set[int], list[str]]:
    """Rows of the validation images, and notes for people.

    An image is used for validation if its hash, read as a number in [0, 1), is below `share`: adding images moves none
    of the others, and equal files stay together, whatever their classes. With groups the group's name is hashed, so
    that a group stays whole. If a class has no image on one side, its nearest image (or group) moves there; only such
    an image may move back when more are added. Training comes first: it keeps at least one image (or group) of every
    class, so that a class with only one is not scored. labels, hashes, groups: one per image.
    """
    keys = [digest if group is None else text_hash(group) for digest, group in zip(hashes, groups, strict=True)]
    position = {key: share_of_hash(key) for key in keys}
    classes_of: dict[str, set[str]] = defaultdict(set)
    keys_of: dict[str, set[str]] = defaultdict(set)
    for key, label in zip(keys, labels, strict=True):
        classes_of[key].add(label)
        keys_of[label].add(key)
    scored = _trainable({key for key in position if position[key] < share}, keys_of, position)
    scored = _scored_per_class(scored, keys_of, classes_of, position)
    unit = "image" if all(group is None for group in groups) else "group"
    return {row for row, key in enumerate(keys) if key in scored}, _unscored_notes(scored, keys_of, unit)


def _trainable(scored: set[str], keys_of: dict[str, set[str]], position: dict[str, float]) -> set[str]:
    """`scored` without the keys that training needs: of each class that lies in it entirely, the farthest key."""
    result = set(scored)
    for label in sorted(keys_of):
        if keys_of[label] <= result:
            result.remove(max(keys_of[label], key=lambda key: (position[key], key)))
    return result


def _scored_per_class(
    scored: set[str], keys_of: dict[str, set[str]], classes_of: dict[str, set[str]], position: dict[str, float]
) -> set[str]:
    """`scored` with a key for each class that has none, as long as training keeps a key of every class.

    Keys are only added, so that a later class does not take a key from an earlier one; the last key of a class in
    training stays there, or, if that helps, is swapped with another key of that class. A swap can make room for a
    class that had none before, so this is repeated until nothing changes; each time more classes are scored.
    """
    result = set(scored)
    changed = True
    while changed:
        changed = False
        for label in sorted(keys_of):
            if len(keys_of[label]) < 2 or keys_of[label] & result:
                continue
            for key in sorted(keys_of[label], key=lambda key: (position[key], key)):
                with_key = _with_key(key, result, keys_of, classes_of, position)
                if with_key is not None:
                    result, changed = with_key, True
                    break
    return result


def _with_key(
    key: str,
    scored: set[str],
    keys_of: dict[str, set[str]],
    classes_of: dict[str, set[str]],
    position: dict[str, float],
) -> set[str] | None:
    """`scored` with `key`, every class still being in training; None if no other key can be moved back."""
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


def _unscored_notes(scored: set[str], keys_of: dict[str, set[str]], unit: str) -> list[str]:
    unscored = [label for label in sorted(keys_of) if not keys_of[label] & scored]
    single = [label for label in unscored if len(keys_of[label]) == 1]
    needed = [label for label in unscored if len(keys_of[label]) > 1]
    notes = []
    if single:
        notes.append(f"{named_classes(single)} only one {unit}, which is used for training and cannot be scored")
    if needed:
        notes.append(
            f"{named_classes(needed)} no {unit} for validation: each is the last one of some class in training"
        )
    return notes


def fraction_rows(labels: Sequence[int], fraction: float, seed: int, groups: Sequence[str | None]) -> list[int]:
    """Sorted rows of a share of the images: per class the nearest number to the share, at least one.

    Groups stay whole: per class the number of groups that comes nearest to the share, at least one, in one order for
    all classes. labels, groups: one per image. With the same seed, the rows of a smaller fraction are a subset of those
    of a larger one.
    """
    if any(group is not None for group in groups):
        return _rows_of_groups(labels, fraction, seed, groups)
    by_class: dict[int, list[int]] = defaultdict(list)
    for row, label in enumerate(labels):
        by_class[label].append(row)
    subset: list[int] = []
    for label, rows in by_class.items():
        shuffled = np.random.default_rng(derive(seed, "fraction", label)).permutation(rows)
        subset += shuffled[: max(1, round(fraction * len(rows)))].tolist()
    return sorted(subset)


def _rows_of_groups(labels: Sequence[int], fraction: float, seed: int, groups: Sequence[str | None]) -> list[int]:
    # An image without a group is a group of its own.
    rows_of: dict[tuple[str | None, int], list[int]] = defaultdict(list)
    for row, group in enumerate(groups):
        rows_of[group, row if group is None else -1].append(row)
    units = list(rows_of.values())
    order = np.random.default_rng(derive(seed, "fraction", "groups")).permutation(len(units))
    shuffled = [units[index] for index in order]
    subset = set[int]()
    for label in sorted(set(labels)):
        counts = [sum(labels[row] == label for row in unit) for unit in shuffled]
        with_class = [index for index, count in enumerate(counts) if count]
        cumulative = np.cumsum([counts[index] for index in with_class])
        units_used = int(np.abs(cumulative - fraction * cumulative[-1]).argmin()) + 1
        subset |= {row for index in with_class[:units_used] for row in shuffled[index]}
    return sorted(subset)
