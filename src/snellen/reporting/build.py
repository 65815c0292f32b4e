"""One self-contained HTML file from runs, and the same numbers as JSON and CSV beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from snellen.errors import UserError
from snellen.insight.decision import RULE
from snellen.reporting.runs import task_of
from snellen.reporting.template import check_name, render, write_report
from snellen.run.directory import Run


def build_report(runs: Sequence[Run], out: Path) -> Path:
    """Writes the report of one run, or of several side by side, and returns its path.

    Beside `out` lie the same numbers: .json with all of them, .csv with one row a run.
    Raises UserError when there is no run, when a file of a run is gone, or when `out` is no .html file.
    """
    if not runs:
        raise UserError("a report needs at least one run directory.")
    check_name(out)
    content = _content(runs)
    return write_report(out, _page(content), content.numbers, pd.DataFrame(content.rows))


@dataclass(frozen=True)
class _Content:
    """What differs from one kind of runs to another. rows: of the table, one a run."""

    template: str
    styles: tuple[str, ...]
    scripts: tuple[str, ...]
    collected: Any
    context: dict[str, Any]
    numbers: dict[str, Any]
    rows: list[dict[str, Any]]


def _content(runs: Sequence[Run]) -> _Content:
    if task_of(runs) == "segmentation":
        from snellen.tasks.segmentation.report import collect, numbers, sections

        masks = collect.collect(runs)
        return _Content(
            *("segmentation.html.j2", ("report.css", "masks.css"), ("report.js", "masks.js"), masks),
            *(sections.context(masks), numbers.numbers(masks), numbers.rows(masks)),
        )
    from snellen.tasks.classification.report import collect as classes
    from snellen.tasks.classification.report import numbers as class_numbers
    from snellen.tasks.classification.report import sections as class_sections

    collected = classes.collect(runs)
    return _Content(
        *("classes.html.j2", ("report.css",), ("report.js", "features.js"), collected),
        *(class_sections.context(collected), class_numbers.numbers(collected), class_numbers.rows(collected)),
    )


def _page(content: _Content) -> str:
    return render(
        content.template,
        content.styles,
        content.scripts,
        collected=content.collected,
        rule=RULE,
        recipe_text=lambda run: yaml.safe_dump(run.recipe, sort_keys=False, allow_unicode=True),
        **content.context,
    )
