"""The page of a classification run, or of several."""

from __future__ import annotations

from collections.abc import Sequence

from snellen.reporting.collected import Collected
from snellen.reporting.shared import common_sections
from snellen.reporting.template import Page, variables_of
from snellen.run.directory import RunDirectory
from snellen.tasks.classification.report import saliency
from snellen.tasks.classification.report.collect import RunFigures, collect
from snellen.tasks.classification.report.numbers import numbers, rows
from snellen.tasks.classification.report.sections import sections


def view(label: str, run: RunDirectory, number: int) -> RunFigures:
    """A run's figures. number: of the runs on the page, from 0."""
    return RunFigures(label, run, number)


def page(runs: Sequence[RunDirectory]) -> Page:
    """The page of some runs."""
    return page_of(collect(runs))


def page_of(collected: Collected[RunFigures], template: str = "classes.html.j2") -> Page:
    """The page of collected figures."""
    looks = saliency.looks_of(collected.scored)
    return Page(
        template=template,
        styles=("report.css",),
        scripts=("report.js", "features.js"),
        variables=variables_of(common_sections(collected, collected.runs[0].curves), sections(collected, looks)),
        numbers=numbers(collected) | {"saliency": saliency.numbers(looks)},
        rows=rows(collected),
    )
