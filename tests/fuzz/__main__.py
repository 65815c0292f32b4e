"""python -m tests.fuzz PARSER --runs 100000 --seed 0"""

from __future__ import annotations

import argparse
import faulthandler
import sys
import time
import warnings

from tests.fuzz.harness import fuzz
from tests.fuzz.parsers import PARSERS


def main() -> int:
    arguments = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzzes a parser of untrusted files.")
    arguments.add_argument("parser", choices=PARSERS)
    arguments.add_argument("--runs", type=int, default=100_000)
    arguments.add_argument("--seed", type=int, default=0)
    given = arguments.parse_args()
    faulthandler.enable()  # a crash in C code leaves the file in the temporary folder
    warnings.simplefilter("ignore")
    start = time.process_time()
    result = fuzz(PARSERS[given.parser], given.runs, given.seed, lambda line: print(line, flush=True))
    print("lines not executed:", ", ".join(result.missed) or "none")
    for finding in result.findings:
        print(f"\n{finding.key}, {finding.name} = {finding.content!r:.300}\n{finding.text}")
    print(
        f"{given.parser}: {result.runs:,} files, seed {given.seed}: {result.lines} of {result.of_lines} lines "
        f"({result.lines / result.of_lines:.0%}), {result.refused:,} refused, {len(result.findings)} findings, "
        f"{time.process_time() - start:.0f} s of processor time"
    )
    return 1 if result.findings else 0


if __name__ == "__main__":
    sys.exit(main())
