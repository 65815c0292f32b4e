"""How long `snellen train` takes until its first step on many files, with a split that is given and one by content.

Makes COUNT photographs of about 1 kB in ten class folders (distinct contents: a number is appended to each file), then
times the command in a process of its own, start of Python included, until the first step begins: with train/ and val/
folders, and for the split by content with an empty cache, and again with the hashes that this has kept. With --masks,
half of the files are masks with two classes, and the split is given.
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
OPTIONS = ["batch_size=32", "hardware.precision=fp32", "hardware.channels_last=false", "hardware.unfold=false"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int, nargs="*", default=[100_000, 200_000], help="files")
    parser.add_argument("--masks", action="store_true")
    parser.add_argument("--work", type=Path, help="where to write; default the system's temporary folder")
    options = parser.parse_args()
    for count in options.count:
        with tempfile.TemporaryDirectory(dir=options.work) as folder:
            work = Path(folder)
            if options.masks:
                write_masked(work / "scenes", count // 2)
                print(f"{count:,} files, half of them masks: first step after {masked_seconds(work):.1f} s", flush=True)
                continue
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


def write_masked(root: Path, count: int) -> None:
    """Small scenes with masks, a fifth of them for validation."""
    masks = []
    for rows in (SIDE // 2, SIDE // 4):
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[:rows] = 1
        Image.fromarray(mask).save(root.parent / "mask.png")
        masks.append((root.parent / "mask.png").read_bytes())
    Image.fromarray(np.full((SIDE, SIDE, 3), 99, np.uint8)).save(root.parent / "image.jpg")
    image = (root.parent / "image.jpg").read_bytes()
    for part in ("train", "val"):
        for kind in ("images", "masks"):
            (root / part / kind).mkdir(parents=True)
    (root / "classes.txt").write_text("ground\nsky\n")
    for number in range(count):
        part = root / ("val" if number % 5 == 4 else "train")
        (part / "images" / f"{number}.jpg").write_bytes(image + str(number).encode())
        (part / "masks" / f"{number}.png").write_bytes(masks[number % 2])


def masked_seconds(work: Path) -> float:
    """As `seconds`, for images with masks."""
    sizes = [f"augmentation.size=[{SIDE},{SIDE}]", "augmentation.resize=null", "model.weights=null"]
    return seconds(work, "scenes", "segment-lite", *sizes, "normalization.source=data")


def seconds(work: Path, data: str, recipe: str = "airnet-scratch", *changes: str) -> float:
    """The time until the first step, on the clock."""
    out = work / f"run-{time.time_ns()}"
    command = [sys.executable, "-c", UNTIL_FIRST_STEP, "train", recipe, data, "--out", str(out), *OPTIONS, *changes]
    environment = os.environ | {"SNELLEN_CACHE": str(work / f"cache-{data}")}
    started = time.perf_counter()
    process = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
    taken = time.perf_counter() - started
    if process.returncode != 77:
        raise SystemExit(process.stdout + process.stderr)
    return taken


if __name__ == "__main__":
    main()
