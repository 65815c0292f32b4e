"""Shards of a source of images: tar files that are read in place of its folder, from a disk, a web server or S3."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.progress import Progress

from snellen.data.bounded import bounded_map
from snellen.data.shard_plan import Packed, ShardPlan, ShardSample, plan_shards
from snellen.data.shards.index import INDEX, Index, Member, write_index
from snellen.data.shards.remote import is_url
from snellen.data.shards.sources import is_shards
from snellen.data.shards.write import ShardWriter
from snellen.errors import UserError
from snellen.files import as_path, check_new_folder, new_folder
from snellen.words import counted, first_line

_OTHERS = "others"  # the tar file of tables, which is no part of what webdataset reads
_BATCH = 8  # samples read by a thread at a time
_AHEAD = 8  # batches in memory
_THREADS = 4
_Content = list[tuple[Packed, bytes, bytes]]  # a file, what it contains, and the SHA-256 of that


def shard(
    data: str | Path,
    out: str | Path,
    *,
    shard_mib: int = 256,
    force: bool = False,
    console: Console | None = None,
    quiet: bool = False,
) -> Path:
    """Writes images into tar files with an index, which `train`, `check` and all other commands take as data.

    A run on them has the same images, names, classes, split and order as on `data`, and ends with the same bits. They
    are read from a folder, or from http(s):// or s3://. The webdataset package reads them too.

    Parameters:
        data: a folder of images in any layout, with or without masks or labels, a table or list of images, or
            torchvision:NAME.
        out: the new folder.
        shard_mib: about how large a tar file gets, in MiB. An image is never divided.
        force: replace existing shards.
        console: the rich console that progress is shown on. None: standard error.
        quiet: print nothing (no effect if `console` is given).

    Returns the folder. It appears when it is complete; until then its content is in a hidden folder beside it.
    Raises UserError if there are no images, a file cannot be read, or something would be replaced. Images that cannot
    be decoded are kept: what becomes of them is decided in training, by data.unreadable.

    >>> snellen.shard("digits", "digits-shards").name
    'digits-shards'
    >>> snellen.check("digits-shards")
    Check of ImageSet(...): 90 training and 30 validation images, 3 classes; 0 unreadable files
    """
    console = console or Console(stderr=True, quiet=quiet)
    if is_url(out):
        raise UserError(
            f"{out}: shards are written to a folder. Then copy it, as in: aws s3 cp --recursive FOLDER {out}"
        )
    source, out = data if isinstance(data, str) else as_path(data, "data"), as_path(out, "out").absolute()
    if shard_mib < 1:
        raise UserError(f"shard_mib={shard_mib}: expected at least 1.")
    _check_out(source, out, force)
    plan = plan_shards(source)
    for note in plan.notes:
        console.print(f"[yellow]note:[/] {escape(note)}", highlight=False, soft_wrap=True)
    with new_folder(out) as folder:
        index = _write(plan, folder, shard_mib * 2**20, console)
    size = decimal(sum(shard.size for shard in index.shards))
    console.print(f"{plan.counts}, in {counted(len(index.shards), 'tar file')}, {size}", highlight=False)
    return out


def _check_out(source: str | Path, out: Path, force: bool) -> None:
    if Path(source).is_dir() and out.resolve().is_relative_to(Path(source).resolve()):
        raise UserError(f"{out}: lies in {source}, whose images are to be sharded. Choose a folder outside it.")
    check_new_folder(out, force, is_shards, "a folder of shards")


def _write(plan: ShardPlan, folder: Path, limit: int, console: Console) -> Index:
    members: list[Member] = []
    with (
        ShardWriter(folder, limit) as writer,
        Progress(console=console, transient=True, disable=not console.is_terminal) as bar,
    ):
        task = bar.add_task("writing", total=len(plan.samples))
        for sample, contents in _read_ahead(plan.samples):
            files = [(f"{sample.key}.{packed.extension}", content) for packed, content, _ in contents]
            if sample.label is not None:
                files.append((f"{sample.key}.cls", str(sample.label).encode()))
            members += _members(contents, writer.add(sample.part, files)[: len(contents)])
            bar.advance(task)
        for other in plan.others:
            contents = [_content(other)]
            members += _members(contents, writer.add(_OTHERS, [(other.name, contents[0][1])]))
    try:
        index = Index.of(writer.shards, members, plan.entry)
    except ValueError as error:  # such as a name with a line of code in it
        raise UserError(f"the images cannot be indexed: {first_line(error)}.") from error
    write_index(index, folder / INDEX)
    return index


def _members(contents: _Content, places: list[tuple[int, int]]) -> list[Member]:
    return [
        Member(packed.name, shard, start, len(content), digest)
        for (packed, content, digest), (shard, start) in zip(contents, places, strict=True)
    ]


def _read_ahead(samples: Sequence[ShardSample]) -> Iterator[tuple[ShardSample, _Content]]:
    """The contents of the samples, in their order, read by a few threads."""
    batches = [samples[start : start + _BATCH] for start in range(0, len(samples), _BATCH)]
    with ThreadPoolExecutor(_THREADS) as pool:
        for batch, contents in zip(batches, bounded_map(pool, _contents, batches, _AHEAD), strict=True):
            yield from zip(batch, contents, strict=True)


def _contents(samples: Sequence[ShardSample]) -> list[_Content]:
    return [[_content(packed) for packed in sample.files] for sample in samples]


def _content(packed: Packed) -> tuple[Packed, bytes, bytes]:
    try:
        content = packed.path.read_bytes()
        packed.name.encode()
    except OSError as error:
        raise UserError(f"{packed.path}: cannot be read ({error.strerror}).") from error
    except UnicodeEncodeError:
        name = os.fsencode(packed.path).decode("utf-8", "backslashreplace")
        raise UserError(f"{name}: the name is not UTF-8. Rename it: convmv -r -f latin1 -t utf8 FOLDER") from None
    return packed, content, hashlib.sha256(content).digest()
