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
    """Writes one self-contained HTML file, with the same numbers as JSON and CSV next to it.

    Parameters:
        runs: a run or its folder, several of these in a list, or the folder of a study.
        out: the HTML file. None: report.html in the folder of the run or study; for several runs, in the working
            folder.
        force: replace existing files. The report.html in the folder of a run or study is always replaced.

    Returns the path of the HTML file.
    Raises UserError if the runs cannot be compared, or a file would be replaced.

    >>> page = snellen.report(["runs/digits", "runs/started"], "comparison.html")
    >>> page.name
    'comparison.html'
    """
    from snellen.studies import Study
    from snellen.study.directory import is_study
    from snellen.study.report import build_study_report

    if isinstance(runs, str | Path) and is_study(Path(runs)):
        return build_study_report(Study(Path(runs)), _target(out, Path(runs), force))
    if not isinstance(runs, str | Path | Run | Sequence):
        raise UserError(f"runs: expected a run, several in a list, or a study, got {kind_of(runs)}.")
    if isinstance(runs, Sequence) and not len(runs):
        raise UserError("runs: expected at least one run.")
    run_list = [runs] if isinstance(runs, str | Path | Run) else list(runs)
    opened = [load(run) for run in run_list]
    kinds = {run.kind.task: run.kind for run in opened}
    if len(kinds) > 1:
        raise UserError(f"runs of different kinds ({', '.join(sorted(kinds))}) cannot share a report.")
    target = _target(out, opened[0].path if len(opened) == 1 else None, force)
    return opened[0].kind.report.page(opened).write(target)


def _target(out: str | Path | None, folder: Path | None, force: bool) -> Path:
    """The path of the page. folder: of the single run or study, whose own page may be replaced."""
    own_page = None if folder is None else folder / "report.html"
    path = as_path(out, "out") if out is not None else own_page or Path("report.html")
    if own_page is None or path.resolve() != own_page.resolve():
        check_name(path)
        for suffix in (path.suffix, ".json", ".csv"):  # the same numbers are written beside the page
            check_new_file(path.with_suffix(suffix), force)
    return path
