"""How long `snellen train` takes until its first step on many files, with a split that is given and one by content.

Makes COUNT photographs of about 1 kB in ten class folders (distinct contents: a number is appended to each file), then
times the command in a process of its own, start of Python included, until the first step begins: with train/ and val/
folders, and for the split by content with an empty cache, and again with the hashes that this has kept.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 32
UNTIL_FIRST_STEP = """
import os, sys
from snellen import cli
from snellen.engine import loop

def first_step(*arguments):
    os._exit(77)

loop.one_step = first_step
sys.argv[0] = "snellen"
cli.main()
"""
OPTIONS = ["batch_size=128", "hardware.precision=fp32", "hardware.channels_last=false", "hardware.unfold=false"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int, nargs="*", default=[100_000, 200_000], help="files")
    parser.add_argument("--work", type=Path, help="where to write; default the system's temporary folder")
    options = parser.parse_args()
    for count in options.count:
        with tempfile.TemporaryDirectory(dir=options.work) as folder:
            work = Path(folder)
            write(work / "given", count, parts=("train", "train", "train", "train", "val"))
            print(f"{count:,} files, split given: first step after {seconds(work, 'given'):.1f} s", flush=True)
            write(work / "together", count, parts=("",))
            for when in ("the first time", "later"):
                taken = seconds(work, "together")
                print(f"{count:,} files, split by content, {when}: first step after {taken:.1f} s", flush=True)


def write(root: Path, count: int, parts: tuple[str, ...]) -> None:
    """Small photographs; each part of `parts` gets an equal share."""
    generator = np.random.default_rng(0)
    encoded = []
    for label in range(10):
        image = Image.fromarray(generator.integers(0, 256, (SIDE // 8, SIDE // 8, 3), np.uint8)).resize((SIDE, SIDE))
        file = root / f"{label}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        image.save(file)
        encoded.append(file.read_bytes())
        file.unlink()
        for part in set(parts):
            (root / part / f"class{label}").mkdir(parents=True)
    for number in range(count):
        folder = root / parts[number // 10 % len(parts)] / f"class{number % 10}"
        (folder / f"{number}.jpg").write_bytes(encoded[number % 10] + str(number).encode())


def seconds(work: Path, data: str) -> float:
    """The time until the first step, on the clock."""
    out = work / f"run-{time.time_ns()}"
    command = [sys.executable, "-c", UNTIL_FIRST_STEP, "train", "airnet-scratch", data, "--out", str(out), *OPTIONS]
    environment = os.environ | {"SNELLEN_CACHE": str(work / f"cache-{data}")}
    started = time.perf_counter()
    process = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
    taken = time.perf_counter() - started
    if process.returncode != 77:
        raise SystemExit(process.stdout + process.stderr)
    return taken


if __name__ == "__main__":
    main()
