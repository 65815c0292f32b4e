"""One self-contained HTML file from runs, and the same numbers as JSON and CSV beside it."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from snellen.engine.run_directory import Run
from snellen.errors import UserError
from snellen.files import write_json, write_text
from snellen.reporting.runs import task_of


def build_report(runs: Sequence[Run], out: Path) -> Path:
    """Writes the report of one run, or of several side by side, and returns its path.

    Beside `out` lie the same numbers: .json with all of them, .csv with one row a run.
    Raises UserError when there is no run, when a file of a run is gone, or when `out` is no .html file.
    """
    if not runs:
        raise UserError("a report needs at least one run directory.")
    if out.suffix.lower() not in {".html", ".htm"}:
        raise UserError(f"{out}: a report is an HTML file. Choose a name such as {out.with_suffix('.html').name}.")
    content = _content(runs)
    write_text(out, _page(content))
    write_json(out.with_suffix(".json"), content.numbers)
    table = io.StringIO()
    pd.DataFrame(content.rows).to_csv(table, index=False)
    write_text(out.with_suffix(".csv"), table.getvalue())
    return out


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
        from snellen.reporting.segmentation import collect, numbers, sections

        masks = collect.collect(runs)
        return _Content(
            *("segmentation.html.j2", ("report.css", "masks.css"), ("report.js", "masks.js"), masks),
            *(sections.context(masks), numbers.numbers(masks), numbers.rows(masks)),
        )
    from snellen.reporting import collect as classes
    from snellen.reporting import numbers as class_numbers
    from snellen.reporting import sections as class_sections

    collected = classes.collect(runs)
    return _Content(
        *("classes.html.j2", ("report.css",), ("report.js", "features.js"), collected),
        *(class_sections.context(collected), class_numbers.numbers(collected), class_numbers.rows(collected)),
    )


def _page(content: _Content) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    folder = resources.files("snellen.reporting") / "page"
    environment = Environment(
        loader=PackageLoader("snellen.reporting", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["points"] = lambda share: "–" if math.isnan(share) else f"{100 * share:.1f}"
    environment.filters["percent"] = lambda share: "–" if share is None or math.isnan(share) else f"{share:.1%}"
    environment.filters["signed"] = lambda share: f"{100 * share:+.1f}".replace("-", "−")
    environment.filters["setting"] = _setting
    environment.filters["p"] = lambda p: "< 0.001" if p < 0.001 else f"{p:.3f}"
    return environment.get_template(content.template).render(
        style="".join((folder / name).read_text(encoding="utf-8") for name in content.styles),
        script="".join((folder / name).read_text(encoding="utf-8") for name in content.scripts),
        made=f"{datetime.now():%d %B %Y}",
        snellen_version=version("snellen"),
        collected=content.collected,
        recipe_text=lambda run: yaml.safe_dump(run.recipe, sort_keys=False, allow_unicode=True),
        **content.context,
    )


def _setting(value: Any) -> str:
    """A field's value in a line; long fractions are cut."""
    if value is None:
        return "–"
    if isinstance(value, list | tuple):
        return ", ".join(_setting(each) for each in value)
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)
