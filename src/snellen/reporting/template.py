"""The page's templates, with its style, its script and the ways in which numbers are written; a report's files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from snellen.errors import UserError
from snellen.files import write_json, write_text
from snellen.words import counted, images_by_part


def render(template: str, styles: Sequence[str], scripts: Sequence[str], **variables: Any) -> str:
    """A page from a template of the folder page/, with style sheets and scripts of the same folder in it."""
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
    environment.filters["signed"] = lambda share: f"{100 * share:+.1f}".replace("-", "−")
    environment.filters["setting"] = setting
    environment.filters["counted"] = counted
    environment.filters["images_by_part"] = lambda counts: images_by_part(
        counts["train"], counts["validation"], counts.get("test", 0)
    )
    environment.filters["p"] = lambda p: "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"
    folder = resources.files("snellen.reporting") / "page"
    return environment.get_template(template).render(
        style="".join((folder / name).read_text(encoding="utf-8") for name in styles),
        script="".join((folder / name).read_text(encoding="utf-8") for name in scripts),
        made=f"{datetime.now():%d %B %Y}",
        snellen_version=version("snellen"),
        **variables,
    )


def check_name(out: Path) -> None:
    """Raises UserError when a report's file is no .html file."""
    if out.suffix.lower() not in {".html", ".htm"}:
        raise UserError(f"{out}: a report is an HTML file. Choose a name such as {out.with_suffix('.html').name}.")


def write_report(out: Path, page: str, numbers: Mapping[str, Any], table: pd.DataFrame) -> Path:
    """Writes the page, and beside it the same numbers as .json and .csv; returns the page's path."""
    write_text(out, page)
    write_json(out.with_suffix(".json"), dict(numbers))
    write_text(out.with_suffix(".csv"), table.to_csv(index=False))
    return out


def setting(value: Any) -> str:
    """A field's value in a line; long fractions are cut."""
    if value is None:
        return "–"
    if isinstance(value, list | tuple):
        return ", ".join(setting(each) for each in value)
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)
