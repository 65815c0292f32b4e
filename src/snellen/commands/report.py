"""The report of one run, of several side by side, or of a study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from snellen.engine.run_directory import Run


def report(runs: str | Path | Run | Sequence[str | Path | Run], out: str | Path | None = None) -> Path:
    """Writes one self-contained HTML file, and the same numbers as JSON and CSV beside it.

    runs: one or several run directories, or the folder of one study. out: the HTML file; None: report.html in the run's
    or the study's folder, or in the working folder for several runs. Returns the path. Raises UserError when runs
    cannot be compared.
    """
    from snellen.reporting.build import build_report
    from snellen.reporting.study import build_study_report
    from snellen.study.directory import Study, is_study

    if isinstance(runs, str | Path) and is_study(Path(runs)):
        return build_study_report(Study(Path(runs)), Path(out) if out is not None else Path(runs) / "report.html")
    several = [runs] if isinstance(runs, str | Path | Run) else list(runs)
    opened = [run if isinstance(run, Run) else Run(Path(run)) for run in several]
    if out is None:
        out = opened[0].path / "report.html" if len(opened) == 1 else Path("report.html")
    return build_report(opened, Path(out))
