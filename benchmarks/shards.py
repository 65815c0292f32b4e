"""Shards against the folder that they are made from: the time to write them and of `cp -r`, and reading both.

Writing: `snellen.shard`, which brings its files to the disk, and `cp -r`, which leaves that to the system, in files per
second of the clock and of the processor. With --cold the contents of FOLDER are dropped from the page cache before each
(directories and inodes stay). Reading: every image decoded once, in random order, by one thread. The measurements
alternate; each figure is a median.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from rich.console import Console

from snellen import shard
from snellen.data.decode import decode
from snellen.data.listing import images_below
from snellen.data.shards.sources import data_path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a folder of images")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--read", type=int, default=5000, help="number of images to read at most")
    parser.add_argument("--cold", action="store_true", help="read FOLDER from the disk")
    parser.add_argument("--work", type=Path, help="where to write; default the system's temporary folder")
    options = parser.parse_args()
    folder: Path = options.folder
    files = [path for path in folder.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    print(f"{folder}: {len(files):,} files, {size / 1e6:,.0f} MB, {'cold' if options.cold else 'warm'}")
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        copy, shards = Path(work) / "copy", Path(work) / "shards"
        writers = {
            "cp -r": (copy, lambda: subprocess.run(["cp", "-r", folder, copy], check=True)),
            "shard": (shards, lambda: shard(folder, shards, console=Console(quiet=True))),
        }
        seconds: dict[str, list[float]] = {name: [] for name in writers}
        for repeat in range(options.repeats):
            for name, (target, write) in list(writers.items())[:: 1 if repeat % 2 else -1]:
                shutil.rmtree(target, ignore_errors=True)
                os.sync()
                if options.cold:
                    drop(files)
                seconds[name].append(timed(write))
        table("write", {name: [len(files) / taken for taken in values] for name, values in seconds.items()})
        speeds: dict[str, list[float]] = {"folder": [], "shards": []}
        for repeat in range(options.repeats):
            for name, root in [("folder", copy), ("shards", data_path(shards))][:: 1 if repeat % 2 else -1]:
                paths = list(images_below(root))
                random.Random(repeat).shuffle(paths)
                speeds[name].append(
                    min(len(paths), options.read) / timed(lambda paths=paths: read(paths[: options.read]))
                )
        table("read", speeds)


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def read(paths: Sequence[Path]) -> None:
    for path in paths:
        decode(path)


def drop(files: Sequence[Path]) -> None:
    """Drops the contents of files from the page cache."""
    for path in files:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def table(what: str, speeds: dict[str, list[float]]) -> None:
    for name, values in speeds.items():
        spread = f"{min(values):,.0f} to {max(values):,.0f}, n={len(values)}"
        print(f"{what:6} {name:8} {median(values):10,.0f} files/s  ({spread})")
    ratios = [b / a for a, b in zip(*speeds.values(), strict=True)]
    print(f"{what:6} ratio    {median(ratios):10.2f}  ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
