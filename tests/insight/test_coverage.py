"""The short form of benchmarks/coverage.py: coverage on truths that are drawn, fixed seeds, bounds at four errors."""

import pytest
from benchmarks.coverage import ROWS, cells
from simulated.cells import Cell, measure

_SHORT = [cell for cell in cells(ROWS) if cell.short]


@pytest.mark.parametrize("cell", _SHORT, ids=[f"{cell.row}, {cell.name}" for cell in _SHORT])
def test_a_cell_of_the_table_of_coverage(cell: Cell) -> None:
    measured = measure(cell, cell.short)
    assert [name for name, band in cell.bands.items() if not band.holds(measured[name], errors=4)] == [], measured
