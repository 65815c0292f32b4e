"""The page of a segmentation run, or of several."""

from __future__ import annotations

from collections.abc import Sequence

from snellen.reporting.shared import common_sections
from snellen.reporting.template import Page, variables_of
from snellen.run.directory import RunDirectory
from snellen.tasks.segmentation.report.collect import MaskRun, collect
from snellen.tasks.segmentation.report.numbers import numbers, rows
from snellen.tasks.segmentation.report.sections import CURVES, sections


def view(label: str, run: RunDirectory, number: int) -> MaskRun:
    """A run's figures. number: of the runs on the page, from 0."""
    return MaskRun(label, run, number)


def page(runs: Sequence[RunDirectory]) -> Page:
    """The page of some runs."""
    collected = collect(runs)
    return Page(
        template="segmentation.html.j2",
        styles=("report.css", "masks.css"),
        scripts=("report.js", "masks.js"),
        variables=variables_of(common_sections(collected, CURVES), sections(collected)),
        numbers=numbers(collected),
        rows=rows(collected),
    )
