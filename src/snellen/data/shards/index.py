"""The index of shards: which file lies where in which tar file. A safetensors file, which holds no code."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from snellen.errors import UserError
from snellen.files import from_json, replacing
from snellen.words import first_line

INDEX = "index.safetensors"
_FORMAT = "snellen-shards 1"


@dataclass(frozen=True)
class Shard:
    """A tar file. name: without a folder. size: in bytes."""

    name: str
    size: int


@dataclass(frozen=True)
class Member:
    """A file in a shard. name: relative to the root. shard: index. start, size: in bytes. digest: SHA-256, 32 bytes."""

    name: str
    shard: int
    start: int
    size: int
    digest: bytes


@dataclass(frozen=True, eq=False)
class Index:
    """The N files of all shards.

    names: relative to the root, with forward slashes. shard: (N,) int32, indices into `shards`. start, size: (N,)
    int64, bytes. digest: (N, 32) uint8, SHA-256 of the contents. entry: the file that a table of images was sharded
    from, "" for a folder.
    """

    shards: tuple[Shard, ...]
    names: list[str]
    shard: NDArray[np.int32]
    start: NDArray[np.int64]
    size: NDArray[np.int64]
    digest: NDArray[np.uint8]
    entry: str = ""

    @staticmethod
    def of(shards: Sequence[Shard], members: Sequence[Member], entry: str = "") -> Index:
        """The index of some members. Raises ValueError if it would not be valid."""
        digests = b"".join(member.digest for member in members)
        index = Index(
            shards=tuple(shards),
            names=[member.name for member in members],
            shard=np.array([member.shard for member in members], np.int32),
            start=np.array([member.start for member in members], np.int64),
            size=np.array([member.size for member in members], np.int64),
            digest=np.frombuffer(digests, np.uint8).reshape(-1, 32),
            entry=entry,
        )
        _check(index)
        return index


@dataclass(frozen=True)
class _Facts:
    shards: list[tuple[str, int]]
    entry: str


def write_index(index: Index, path: Path) -> None:
    """Writes an index whole or not at all."""
    arrays: dict[str, NDArray[Any]] = {
        "names": np.frombuffer("\0".join(index.names).encode(), np.uint8),
        "shard": index.shard,
        "start": index.start,
        "size": index.size,
        "digest": index.digest,
    }
    facts = {"shards": [(shard.name, shard.size) for shard in index.shards], "entry": index.entry}
    with replacing(path) as temporary:
        save_file(arrays, temporary, {"format": _FORMAT, "facts": json.dumps(facts, ensure_ascii=False)})


def read_index(path: Path) -> Index:
    """Reads an index and checks that no name leads out of its root and no file out of its shard. Raises UserError."""
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT:
                raise ValueError(f"expected the format '{_FORMAT}', got '{metadata.get('format')}'")
            facts = from_json(_Facts, metadata["facts"])
            arrays = {name: file.get_tensor(name) for name in ("names", "shard", "start", "size", "digest")}
        types = {name: (array.dtype, array.ndim) for name, array in arrays.items()}
        one = {"names": np.uint8, "shard": np.int32, "start": np.int64, "size": np.int64}
        if types != {name: (np.dtype(kind), 1) for name, kind in one.items()} | {"digest": (np.dtype(np.uint8), 2)}:
            raise ValueError("columns of other types")
        index = Index(
            shards=tuple(Shard(name, size) for name, size in facts.shards),
            names=arrays["names"].tobytes().decode().split("\0") if len(arrays["names"]) else [],
            shard=arrays["shard"],
            start=arrays["start"],
            size=arrays["size"],
            digest=arrays["digest"],
            entry=facts.entry,
        )
        _check(index)
    except (SafetensorError, KeyError, ValueError, TypeError, OSError) as error:
        raise UserError(
            f"{path}: not a valid index of shards ({first_line(error)}). Write the shards again."
        ) from error
    return index


def is_inside(name: str) -> bool:
    """Whether a relative name is written plainly and stays below its root: no '..', no '//', no leading '/'."""
    return "\0" not in name and all(part not in {"", ".", ".."} for part in name.split("/"))


def _check(index: Index) -> None:
    """Raises ValueError for an index that points anywhere but into its own shards."""
    count = len(index.names)
    if not len(index.shard) == len(index.start) == len(index.size) == count or index.digest.shape != (count, 32):
        raise ValueError("columns of different lengths")
    for shard in index.shards:
        if not is_inside(shard.name) or "/" in shard.name or shard.name.startswith(".") or shard.size < 0:
            raise ValueError(f"'{shard.name}' is not the name of a shard")
    stray = next((name for name in index.names if not is_inside(name)), None)
    if stray is not None:
        raise ValueError(f"the name '{stray}' leads out of the folder")
    if len(set(index.names)) < count:
        raise ValueError("a name appears twice")
    if index.entry and index.entry not in index.names:
        raise ValueError(f"'{index.entry}' is missing")
    if not count:
        return
    if index.shard.min() < 0 or index.shard.max() >= len(index.shards):
        raise ValueError("a file in no shard")
    limits = np.array([shard.size for shard in index.shards], np.int64)[index.shard]
    if (
        min(
            index.start.min(), index.size.min(), (limits - index.start).min(), (limits - index.start - index.size).min()
        )
        < 0
    ):
        raise ValueError("a file outside its shard")
