"""From what the user names to where its files are: a folder, shards in one, or shards at a URL."""

from __future__ import annotations

import hashlib
import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import BinaryIO, cast

from snellen.data.shards.index import INDEX, Index, Shard, read_index, write_index
from snellen.data.shards.opened import LocalReader, Shards
from snellen.data.shards.path import ShardPath, is_opened, opened_at
from snellen.data.shards.remote import Location, MissingError, RemoteReader, is_url, shard_folder
from snellen.data.shards.scan import scan
from snellen.errors import UserError
from snellen.files import from_json, replacing, write_json
from snellen.words import counted

_ORIGIN = "origin.json"
_BESIDE = frozenset({".txt", ".json", ".md", ".yaml", ".yml", ".idx"})  # what may lie next to tar files
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MOST_SHARDS = 1_000_000
_PIECE = 8 * 2**20  # bytes of an index requested at a time


@dataclass(frozen=True)
class _Origin:
    """Where the shards are whose index lies in the cache. base: a folder or URL. state: changes if they change."""

    base: str
    state: str


def data_path(source: str | Path) -> Path:
    """The path of images: `source` itself, or a ShardPath if it is shards, a URL of shards or something in shards.

    Tar files of other programs are indexed when they are first used. Raises UserError if shards cannot be used.
    """
    if is_url(source):
        return _at_url(str(source))
    path = Path(source)
    if is_shards(path):
        root, entry = _in_folder(path)
        return root / entry if entry else root
    tars = _tars(path)
    if tars:
        return _of_others(path.parent if path.is_file() else path, tars)
    return path if path.exists() else inside_shards(path)


def source_path(source: str | Path) -> Path:
    """The path of a source: as `data_path` says, or the folder of torchvision:NAME, written if it is new."""
    from snellen.data.torchvision_sets import PREFIX, write_set

    return write_set(str(source).removeprefix(PREFIX)) if str(source).startswith(PREFIX) else data_path(source)


def inside_shards(path: Path) -> Path:
    """A ShardPath if `path`, or a folder above it, is the root of shards; else `path`. Raises UserError as above."""
    if is_opened(path):
        return ShardPath(path)
    absolute = path.absolute()
    root = next((folder for folder in (absolute, *absolute.parents) if is_shards(folder)), None)
    return path if root is None else _in_folder(root)[0] / absolute.relative_to(root)


def is_shards(folder: Path) -> bool:
    """Whether a folder holds shards with their index."""
    return os.path.isfile(folder / INDEX)  # not its method, which raises OSError for a name that is too long


def _in_folder(folder: Path) -> tuple[Path, str]:
    """The root of shards, and the name of the table that they were made from, if they were made from one."""
    state = (folder / INDEX).stat()
    return _opened(folder.resolve(), (state.st_ino, state.st_size, state.st_mtime_ns))


@cache
def _opened(root: Path, state: object) -> tuple[Path, str]:
    """state: changes if the index changes."""
    index, origin = read_index(root / INDEX), _origin(root)
    if origin is None or not is_url(origin.base):
        folder = root if origin is None else Path(origin.base)
        shards = Shards(str(folder), index, LocalReader(folder, index), checked=False)
    else:
        blocks = root / "blocks"
        blocks.mkdir(exist_ok=True)
        names = [(shard.name, shard.size) for shard in index.shards]
        shards = Shards(origin.base, index, RemoteReader(Location(origin.base), names, blocks), checked=True)
    return opened_at(root, shards), index.entry


def _origin(folder: Path) -> _Origin | None:
    """The origin of an index in the cache. Elsewhere the file is ignored: it could name any address."""
    file = folder / _ORIGIN
    if folder.parent != shard_folder().resolve() or not file.is_file():
        return None
    try:
        return from_json(_Origin, file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{file}: damaged ({error}). To start anew: snellen cache clear shards") from error


@cache  # a process asks once whether the files there have changed
def _at_url(url: str) -> Path:
    base, _, last = url.rstrip("/").rpartition("/")
    if last.endswith(".tar"):
        return _of_others_at(Location(base), _expanded(last))
    return _with_index(url.rstrip("/"))


def _with_index(url: str) -> Path:
    location = Location(url)
    try:
        size, state = location.info(INDEX)
    except MissingError as error:
        if url.startswith("s3://"):
            tars = [name for name in location.names() if name.endswith(".tar")]
            if tars:
                return _of_others_at(location, tars)
        raise UserError(
            f"{error} Shards of `snellen shard` have it; tar files of other programs are named one by one: "
            f"'{url}/train-{{000..146}}.tar'"
        ) from None

    def fetch(folder: Path) -> None:
        with replacing(folder / INDEX) as temporary, temporary.open("wb") as file:
            for start in range(0, size, _PIECE):
                file.write(location.fetch(INDEX, start, min(_PIECE, size - start)))

    return _kept(_Origin(url, f"{size} {state}"), fetch)


def _of_others_at(location: Location, names: Sequence[str]) -> Path:
    facts = [location.info(name) for name in names]
    shards = [Shard(name, size) for name, (size, _) in zip(names, facts, strict=True)]

    def index(folder: Path) -> None:
        blocks = folder / "blocks"
        blocks.mkdir(exist_ok=True)
        reader = RemoteReader(location, [(shard.name, shard.size) for shard in shards], blocks)
        files = [cast(BinaryIO, io.BufferedReader(_Whole(reader, row, shard.size))) for row, shard in enumerate(shards)]
        write_index(_indexed(location.url, list(zip(shards, files, strict=True))), folder / INDEX)

    return _kept(_Origin(location.url, str([names, facts])), index)


def _of_others(folder: Path, tars: list[Path]) -> Path:
    states = [tar.stat() for tar in tars]
    shards = [Shard(tar.name, state.st_size) for tar, state in zip(tars, states, strict=True)]

    def index(cached: Path) -> None:
        with ExitStack() as stack:
            files = [(shard, stack.enter_context(tar.open("rb"))) for shard, tar in zip(shards, tars, strict=True)]
            write_index(_indexed(str(folder), cast("list[tuple[Shard, BinaryIO]]", files)), cached / INDEX)

    state = [(tar.name, state.st_size, state.st_mtime_ns) for tar, state in zip(tars, states, strict=True)]
    return _kept(_Origin(str(folder.resolve()), str(state)), index)


def _indexed(name: str, shards: Sequence[tuple[Shard, BinaryIO]]) -> Index:
    print(f"indexing {counted(len(shards), 'tar file')} of {name}, once", file=sys.stderr, flush=True)
    return scan(shards)


def _kept(origin: _Origin, write: Callable[[Path], None]) -> Path:
    """The root of shards that are elsewhere: a folder of the cache with their index, written anew if they changed."""
    folder = shard_folder() / hashlib.sha256("\n".join(asdict(origin).values()).encode()).hexdigest()[:16]
    if not (folder / _ORIGIN).is_file():
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"{folder}: cannot be written ({error.strerror}). Choose another: SNELLEN_CACHE=FOLDER"
            ) from error
        write(folder)
        write_json(folder / _ORIGIN, asdict(origin))
    root, entry = _in_folder(folder)
    return root / entry if entry else root


def _tars(path: Path) -> list[Path]:
    """The tar file, or those of a folder that holds nothing else but texts; none for anything else."""
    if path.suffix.lower() == ".tar" and path.is_file():
        return [path]
    tars: list[Path] = []
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                suffix = os.path.splitext(entry.name)[1].lower()
                if suffix == ".tar" and entry.is_file():
                    tars.append(path / entry.name)
                elif suffix not in _BESIDE and not entry.name.startswith("."):
                    return []  # at the first image of a large folder
    except OSError:  # no folder, or one that cannot be read
        return []
    return sorted(tars)


def _expanded(pattern: str) -> tuple[str, ...]:
    """The names that a pattern such as train-{000..146}.tar stands for, as in a shell."""
    pieces: list[list[str]] = []
    count, end = 1, 0
    for match in _RANGE.finditer(pattern):
        first, last = int(match[1]), int(match[2])
        count *= last - first + 1
        if not 0 < count <= _MOST_SHARDS:
            raise UserError(f"{pattern}: expected a range of up to {_MOST_SHARDS:,} files, such as {{000..146}}.")
        pieces += [[pattern[end : match.start()]], [f"{number:0{len(match[1])}d}" for number in range(first, last + 1)]]
        end = match.end()
    return tuple("".join(parts) for parts in product(*pieces, [pattern[end:]]))


class _Whole(io.RawIOBase):
    """A whole remote tar file, read in order."""

    def __init__(self, reader: RemoteReader, shard: int, size: int) -> None:
        self._reader, self._shard, self._size, self._position = reader, shard, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence])
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        content = self._reader.read(self._shard, self._position, min(len(buffer), max(0, self._size - self._position)))
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)
