"""The report of one run, or of several side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from snellen.engine.run_directory import Run


def report(runs: str | Path | Run | Sequence[str | Path | Run], out: str | Path | None = None) -> Path:
    """Writes one self-contained HTML file, and the same numbers as JSON and CSV beside it.

    runs: one or several run directories. out: the HTML file; None: report.html in the run's folder, or in the working
    folder for several. Returns the path. Raises UserError when runs cannot be compared.
    """
    from snellen.reporting.build import build_report

    several = [runs] if isinstance(runs, str | Path | Run) else list(runs)
    opened = [run if isinstance(run, Run) else Run(Path(run)) for run in several]
    if out is None:
        out = opened[0].path / "report.html" if len(opened) == 1 else Path("report.html")
    return build_report(opened, Path(out))
