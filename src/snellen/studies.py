"""A study in Python: its folder, table and report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from snellen.study.directory import StudyDirectory

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class Study(StudyDirectory):
    """A study's folder, opened for reading."""

    def table(self) -> pd.DataFrame:
        """One row for each setting and share of the labels: mean top-1 or mIoU over the seeds, interval, cost."""
        from snellen.study.results import read_results

        return read_results(self).table()

    def report(self) -> Path:
        """Writes report.html, replacing an existing one, and returns its path."""
        from snellen.study.report import build_study_report

        return build_study_report(self, self.path / "report.html")
