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
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

from rich.console import Console

from snellen import shard
from snellen.data.decode import decode
from snellen.data.listing import images_below
from snellen.data.shards.sources import data_path

Speeds = dict[str, list[tuple[float, float]]]


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
        written: Speeds = {name: [] for name in writers}
        for repeat in range(options.repeats):
            for name, (target, write) in list(writers.items())[:: 1 if repeat % 2 else -1]:
                shutil.rmtree(target, ignore_errors=True)
                if options.cold:
                    drop(files)
                written[name].append(speed(len(files), write))
        print_table("write", written)
        decoded: Speeds = {"folder": [], "shards": []}
        for repeat in range(options.repeats):
            for name, root in [("folder", copy), ("shards", data_path(shards))][:: 1 if repeat % 2 else -1]:
                paths = [root / name for name in images_below(root)]
                random.Random(repeat).shuffle(paths)
                paths = paths[: options.read]
                decoded[name].append(speed(len(paths), partial(read, paths)))
        print_table("read", decoded)


def speed(files: int, work: Callable[[], object]) -> tuple[float, float]:
    """Files per second, of the clock and of the processor, child processes included."""
    clock, processor = time.perf_counter(), processor_seconds()
    work()
    return files / (time.perf_counter() - clock), files / (processor_seconds() - processor)


def processor_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def read(paths: Sequence[Path]) -> None:
    for path in paths:
        decode(path)


def drop(files: Sequence[Path]) -> None:
    """Drops the contents of files from the page cache."""
    for path in files:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def print_table(what: str, speeds: Speeds) -> None:
    """Medians, and the median of the ratios of the measurements that followed each other."""
    for row, unit in enumerate(("clock", "processor")):
        for name, values in speeds.items():
            column = [value[row] for value in values]
            spread = f"{min(column):,.0f} to {max(column):,.0f}, n={len(column)}"
            print(f"{what:6} {unit:9} {name:7} {median(column):8,.0f} files/s ({spread})")
        ratios = [second[row] / first[row] for first, second in zip(*speeds.values(), strict=True)]
        print(f"{what:6} {unit:9} ratio   {median(ratios):8.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
