"""The report of one run, of several side by side, or of a study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from snellen.errors import UserError
from snellen.files import as_path, check_new_file
from snellen.reporting.template import check_name
from snellen.runs import Run, load
from snellen.words import kind_of


def report(
    runs: str | Path | Run | Sequence[str | Path | Run], out: str | Path | None = None, *, force: bool = False
) -> Path:
    """Writes one self-contained HTML file, and the same numbers as JSON and CSV beside it.

    runs: one or several run directories, or the folder of one study. out: the HTML file; None: report.html in the run's
    or the study's folder, or in the working folder for several runs. force: replace a file of that name; a run's or a
    study's own report.html is always written anew. Returns the path. Raises UserError when runs cannot be compared, and
    where a file would be replaced.
    """
    from snellen.studies import Study
    from snellen.study.directory import is_study
    from snellen.study.report import build_study_report

    if isinstance(runs, str | Path) and is_study(Path(runs)):
        return build_study_report(Study(Path(runs)), _target(out, Path(runs), force))
    if not isinstance(runs, str | Path | Run | Sequence):
        raise UserError(f"runs: wanted a run, several in a list, or a study; got {kind_of(runs)}.")
    if isinstance(runs, Sequence) and not len(runs):
        raise UserError("runs: wanted at least one run.")
    several = [runs] if isinstance(runs, str | Path | Run) else list(runs)
    opened = [load(run) for run in several]
    kinds = {run.kind.task: run.kind for run in opened}
    if len(kinds) > 1:
        raise UserError(f"runs of different kinds ({', '.join(sorted(kinds))}) do not fit into one report.")
    target = _target(out, opened[0].path if len(opened) == 1 else None, force)
    return opened[0].kind.report.page(opened).write(target)


def _target(out: str | Path | None, folder: Path | None, force: bool) -> Path:
    """Where the page goes. folder: of the one run or study, whose own page may be replaced."""
    own = None if folder is None else folder / "report.html"
    path = as_path(out, "out") if out is not None else own or Path("report.html")
    if own is None or path.resolve() != own.resolve():
        check_name(path)
        for suffix in (path.suffix, ".json", ".csv"):  # the same numbers are written beside the page
            check_new_file(path.with_suffix(suffix), force)
    return path
