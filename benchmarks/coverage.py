"""How often the 95% intervals cover the truth, and how often a difference is claimed where there is none.

The truth is simulated by independent code (benchmarks/simulated/), and the public functions of snellen.insight are
tested on it. A measure passes if its mean lies in the required band, widened by two Monte Carlo standard errors.

    python benchmarks/coverage.py
    python benchmarks/coverage.py --rows groups masks --draws 1000
    python benchmarks/coverage.py --markdown > table.md
"""

from __future__ import annotations

import argparse
import importlib
import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from simulated.cells import Band, Cell, Measured, measure

ROWS = sorted(path.stem for path in (Path(__file__).parent / "simulated").glob("*.py") if path.stem[0] != "_")
ROWS.remove("cells")
_HEAD = ("row", "cell", "measure", "target", "measured", "Monte Carlo error", "draws", "")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS)
    parser.add_argument("--cells", default="", help="only cells whose name contains this text")
    parser.add_argument("--draws", type=int, default=4000, help="number of draws per cell")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table for the documentation")
    options = parser.parse_args(arguments)
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    failed = 0
    print(_line(_HEAD, options.markdown), flush=True)
    if options.markdown:
        print(_line(["---"] * len(_HEAD), True))
    with ProcessPoolExecutor(options.processes) as executor:
        for cell in cells(options.rows):
            if options.cells not in cell.name:
                continue
            for name, measured in measure(cell, options.draws, executor).items():
                passes = cell.bands[name].holds(measured) if name in cell.bands else None
                failed += passes is False
                print(_line(_row(cell, name, measured, passes), options.markdown), flush=True)
    if not options.markdown:
        print(f"{failed} measures outside their bands")


def cells(rows: Sequence[str]) -> Iterator[Cell]:
    """The cells of the given rows, in the order of their modules."""
    for row in rows:
        yield from importlib.import_module(f"simulated.{row}").CELLS


def _row(cell: Cell, name: str, measured: Measured, passes: bool | None) -> list[str]:
    verdict = {True: "passes", False: "FAILS", None: ""}[passes]
    band = _band_text(cell.bands[name]) if name in cell.bands else ""
    figures = [f"{measured.mean:.4f}", f"{measured.error:.4f}", str(measured.draws)]
    return [cell.row, cell.name, name, band, *figures, verdict]


def _band_text(band: Band) -> str:
    if math.isinf(band.low):
        return f"≤ {band.high:g}"
    return f"≥ {band.low:g}" if math.isinf(band.high) else f"{band.low:g} to {band.high:g}"


def _line(values: Sequence[str], markdown: bool) -> str:
    return f"| {' | '.join(values)} |" if markdown else "\t".join(values)


if __name__ == "__main__":
    main()
