"""A split in which no copies straddle training and validation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from snellen.data.split import validation_rows


def split_without_leaks(
    names: Sequence[str],
    labels: Sequence[str],
    groups: Sequence[str | None],
    pairs: Iterable[tuple[str, str]],
    share: float,
) -> tuple[list[str], list[str]]:
    """(cluster of each image, part of each image: "train" or "val").

    names, labels, groups: of each image; the group is None if it is in none. pairs: names of copies. share: of the
    images for validation. Images that a chain of copies or a common group connects are a cluster, called by the name of
    its first image, and stay together; otherwise the split is that by groups (see `data.split`).
    """
    clusters = clusters_of(names, groups, pairs)
    scored, _ = validation_rows(labels, [""] * len(names), clusters, share)
    return clusters, ["val" if row in scored else "train" for row in range(len(names))]


def clusters_of(names: Sequence[str], groups: Sequence[str | None], pairs: Iterable[tuple[str, str]]) -> list[str]:
    """The cluster of each image, as in `split_without_leaks`; pairs with other names are left out."""
    parent = {name: name for name in names}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = name = parent[parent[name]]
        return name

    def unite(first: str, second: str) -> None:
        low, high = sorted((root(first), root(second)))
        parent[high] = low

    for first, second in pairs:
        if first in parent and second in parent:
            unite(first, second)
    first_of: dict[str, str] = {}
    for name, group in zip(names, groups, strict=True):
        if group is not None:
            unite(first_of.setdefault(group, name), name)
    return [root(name) for name in names]
