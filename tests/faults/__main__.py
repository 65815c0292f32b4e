"""python -m tests.faults N [--seed S] [--first F] [--only WHAT]: N faults at moments drawn by the seed, counted."""

from __future__ import annotations

import argparse
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

import tests.conftest  # noqa: F401  (threads and cache)
from tests.faults.trials import Lab, attempt, draw
from tests.images import write_digits, write_scenes


def main() -> None:
    parser = argparse.ArgumentParser(description="Faults at random moments of real runs.")
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the number of the first trial of the seed")
    parser.add_argument("--only", default="", help="a fault, such as killed, or a kind of run, such as study")
    arguments = parser.parse_args()
    tried: Counter[tuple[str, str]] = Counter()
    lost: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        images = {"digits": write_digits(root / "digits"), "scenes": write_scenes(root / "scenes")}
        lab = Lab(images, root / "trials")
        for number in range(arguments.first, arguments.first + arguments.count):
            drawn = draw(arguments.seed, number)
            key = drawn.fault.__name__, drawn.kind
            if arguments.only and arguments.only not in key:
                continue
            tried[key] += 1
            try:
                attempt(lab, drawn)
            except Exception:
                lost[key] += 1
                print(f"{drawn}: LOST", file=sys.stderr)
                traceback.print_exc()
            print(f"\r{number + 1 - arguments.first} of {arguments.count}  ", end="", file=sys.stderr, flush=True)
    print("\nfault | kind of run | tried | lost")
    for key in sorted(tried):
        print(" | ".join([*key, str(tried[key]), str(lost[key])]))
    print(f"all | all | {tried.total()} | {lost.total()}")
    sys.exit(bool(lost.total()))


if __name__ == "__main__":
    main()
