"""The page's templates, with its style, its script and the number formats; the files of a report."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from datetime import datetime
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml

from snellen.errors import UserError
from snellen.files import write_json, write_text
from snellen.insight.decision import RULE
from snellen.insight.proportions import percents
from snellen.insight.sentence import signed, signed_range
from snellen.words import counted, duration, images_by_part, si

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@dataclass(frozen=True)
class Page:
    """The contents of a report. template, styles, scripts: files of the folder page/. variables: of the template.

    numbers: the same figures for JSON. rows: of the CSV table.
    """

    template: str
    styles: tuple[str, ...]
    scripts: tuple[str, ...]
    variables: dict[str, Any]
    numbers: dict[str, Any]
    rows: list[dict[str, Any]]

    def write(self, out: Path) -> Path:
        """Writes the page, and next to it the same numbers as .json and .csv; returns the page's path.

        Raises UserError if `out` is not an .html file.
        """
        check_name(out)
        write_text(out, _render(self))
        write_json(out.with_suffix(".json"), self.numbers)
        write_text(out.with_suffix(".csv"), pd.DataFrame(self.rows).to_csv(index=False))
        return out


def variables_of(*sections: DataclassInstance) -> dict[str, Any]:
    """What a page's template may use: the fields of dataclasses, by name."""
    return {field.name: getattr(part, field.name) for part in sections for field in fields(part)}


def _render(page: Page) -> str:
    """The text of a page, with its style sheets and scripts embedded."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("snellen.reporting", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["points"] = lambda share: "–" if math.isnan(share) else f"{100 * share:.1f}"
    environment.filters["percent"] = lambda share: "–" if share is None or math.isnan(share) else f"{share:.1%}"
    environment.filters["signed"] = signed
    environment.filters["signed_range"] = signed_range
    environment.filters["percents"] = percents
    environment.filters["setting"] = setting
    environment.filters["counted"] = counted
    environment.filters["duration"] = duration
    environment.filters["si"] = si
    environment.filters["images_by_part"] = lambda counts: images_by_part(
        counts["train"], counts["validation"], counts.get("test", 0)
    )
    environment.filters["p"] = lambda p: "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"
    folder = resources.files("snellen.reporting") / "page"
    return environment.get_template(page.template).render(
        rule=RULE,
        recipe_text=lambda run: yaml.safe_dump(run.fields, sort_keys=False, allow_unicode=True),
        style="".join((folder / name).read_text(encoding="utf-8") for name in page.styles),
        script="".join((folder / name).read_text(encoding="utf-8") for name in page.scripts),
        date=f"{datetime.now():%d %B %Y}",
        snellen_version=version("snellen"),
        **page.variables,
    )


def check_name(out: Path) -> None:
    """Raises UserError if a report's file is not an .html file."""
    if out.suffix.lower() not in {".html", ".htm"}:
        raise UserError(f"{out}: a report is an HTML file. Choose a name such as {out.with_suffix('.html').name}.")


def setting(value: Any) -> str:
    """A field's value in one line; long fractions are shortened."""
    if value is None:
        return "–"
    if isinstance(value, list | tuple):
        return ", ".join(setting(entry) for entry in value)
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)
