"""The page's templates, with its style, its script and the ways in which numbers are written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from importlib import resources
from importlib.metadata import version
from typing import Any


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
    environment.filters["p"] = lambda p: "< 0.001" if p < 0.001 else f"{p:.3f}"
    folder = resources.files("snellen.reporting") / "page"
    return environment.get_template(template).render(
        style="".join((folder / name).read_text(encoding="utf-8") for name in styles),
        script="".join((folder / name).read_text(encoding="utf-8") for name in scripts),
        made=f"{datetime.now():%d %B %Y}",
        snellen_version=version("snellen"),
        **variables,
    )


def setting(value: Any) -> str:
    """A field's value in a line; long fractions are cut."""
    if value is None:
        return "–"
    if isinstance(value, list | tuple):
        return ", ".join(setting(each) for each in value)
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)
