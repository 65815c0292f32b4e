"""Charts put values where a ruler would, and show text as text."""

from __future__ import annotations

import re

import numpy as np
import pytest

from snellen.insight.calibration import Bin
from snellen.insight.proportions import Interval
from snellen.reporting.charts import Entry, Series, confusion_matrix, forest, line_chart, reliability


def test_a_line_runs_through_its_points() -> None:
    line = Series("a", "run0", [1, 2, 3], [0.0, float("nan"), 1.0], mark=3)
    html = line_chart([line], "epoch", "top-1", True, "curve")
    assert 'd="M0.00 100.00 L100.00 0.00"' in html
    assert re.search(r'class="dot ring run0" style="left:100\.00%;bottom:100\.00%"', html)


def test_a_line_of_one_point_is_a_dot() -> None:
    html = line_chart([Series("a", "run0", [1], [0.5])], "epoch", "top-1", True, "curve")
    assert "<path" not in html
    assert 'class="dot run0" style="left:50.00%' in html


def test_nothing_to_draw_is_reported() -> None:
    assert "No epoch" in line_chart([Series("a", "run0", [], [])], "epoch", "loss", False, "curve")


def test_a_forest_has_its_ends_at_the_ticks() -> None:
    rows = [("a − b", [Entry("run0", -0.1, Interval(-0.2, 0.0))]), ("a − c", [Entry("none", 0.1, Interval(0.0, 0.2))])]
    html = forest(rows, "differences", zero=True)
    assert "left:0.00%;width:50.00%" in html  # −0.2 to 0 of −0.2 to 0.2
    assert 'class="dot none" style="left:75.00%' in html
    assert "−10.0" in html
    assert "+10.0" in html


def test_names_are_not_markup() -> None:
    html = forest([("<b>x</b>", [Entry("run0", 0.5, None, '"><script>')])], '"t"')
    assert "<b>x" not in html
    assert "<script>" not in html


@pytest.mark.parametrize("number", [3, 25])
def test_a_confusion_matrix_shows_its_counts(number: int) -> None:
    counts = np.diag(np.arange(1, number + 1))
    counts[0, 1] = 3
    html = confusion_matrix(counts, [f"c{i}" for i in range(number)], "confusion")
    assert "c0 predicted as c1: 3 (75.0%)" in html
    assert html.count("predicted as") == number + 1  # empty cells are no marks
    assert "--share:0.250" in html


def test_reliability_without_an_interval_is_a_point() -> None:
    chart = reliability([Bin(0.0, 1.0, 8, 0.75, 0.5, None)], "run0", "r")
    assert "upright" not in chart
    assert "confidence 75.0%, right 50.0%, 8 images" in chart


def test_reliability_leaves_empty_bins_out() -> None:
    bins = [Bin(0.0, 0.5, 0, None, None, None), Bin(0.5, 1.0, 8, 0.75, 0.5, Interval(0.25, 0.75))]
    html = reliability(bins, "run1", "reliability")
    assert html.count("left:75.00%;bottom:50.00%") == 1
    assert "left:75.00%;bottom:25.00%;height:50.00%" in html
    assert "the tallest bar: 8" in html
