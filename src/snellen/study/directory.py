"""The folder of a study: what it contains and how it is read back.

    study.yaml     the study as requested, every field
    study.json     data source and fingerprint; its runs: setting, fraction, seed, key, folder; the pretraining's
                   folder; the mode (precision, layout) of each network
    runs/          one run directory for each (setting, share of the labels, seed), the key in its name
    pretraining-…  the run of the pretraining, if the study includes one
    report.html    the report, with report.json and report.csv

A run is recognised by its key, a hash of its recipe, its images and the weights that it starts from.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from snellen.engine.mode import Mode
from snellen.errors import UserError
from snellen.files import from_json, write_json, write_text
from snellen.runs import Run
from snellen.study.spec import StudySpec, load_study
from snellen.words import counted

if TYPE_CHECKING:
    from snellen.study.plan import Plan


@dataclass(frozen=True)
class RunFacts:
    """A run in study.json. folder: relative to the study's."""

    setting: str
    fraction: float
    seed: int
    key: str
    folder: str


@dataclass(frozen=True)
class Facts:
    """study.json. source, fingerprint: of the images. pretraining: its folder. modes: by network."""

    source: str
    fingerprint: str
    pretraining: str | None
    modes: dict[str, Mode]
    runs: list[RunFacts]


@dataclass(frozen=True)
class StudyRun(RunFacts):
    """A run of a study, finished or not."""

    path: Path

    @property
    def state(self) -> str:
        """As in status.json, or "not started"."""
        return state_of(self.path)


@dataclass(frozen=True, repr=False)
class StudyDirectory:
    """A study's folder, opened for reading."""

    path: Path

    def __post_init__(self) -> None:
        if not is_study(self.path):
            raise UserError(f"{self.path}: not the folder of a study (it holds no study.json).")

    def __repr__(self) -> str:
        done = sum(run.state == "finished" for run in self.runs)
        return f"Study({str(self.path)!r}): {self.spec.name}, {done} of {counted(len(self.runs), 'run')} finished"

    @cached_property
    def spec(self) -> StudySpec:
        """The study as requested."""
        return load_study(self.path / "study.yaml")

    @cached_property
    def facts(self) -> Facts:
        """study.json."""
        file = self.path / "study.json"
        try:
            return from_json(Facts, file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"{file}: damaged ({error}). The study's command rewrites it.") from error

    @cached_property
    def runs(self) -> list[StudyRun]:
        """All planned runs, in the order in which they are trained."""
        return [StudyRun(**asdict(run), path=self.path / run.folder) for run in self.facts.runs]

    @property
    def finished(self) -> bool:
        """Whether all runs are finished."""
        return all(run.state == "finished" for run in self.runs)

    @property
    def pretraining(self) -> Run | None:
        """The run of its pretraining, if it includes one."""
        folder = self.facts.pretraining
        return Run(self.path / folder) if folder and (self.path / folder / "recipe.yaml").is_file() else None


def state_of(run: Path) -> str:
    """The state of a run's folder, as in status.json, or "not started"."""
    file = run / "status.json"
    if not (run / "recipe.yaml").is_file() or not file.is_file():
        return "not started"
    return Run(run).status.state


def is_study(path: Path) -> bool:
    """Whether a folder holds a study."""
    return (path / "study.json").is_file()


def in_study(run: Path) -> bool:
    """Whether a run's folder belongs to a study, which has one report for all its runs instead of one each."""
    folder = run.resolve().parent
    return folder.name == "runs" and is_study(folder.parent)


def study_of(run: Path) -> Path | None:
    """The study that a run's folder belongs to, as one of its runs or as its pretraining; None if there is none."""
    folder = run.resolve().parent
    study = folder.parent if folder.name == "runs" else folder
    return study if is_study(study) else None


def write_study(
    path: Path, spec: StudySpec, plan: Plan, source: str, fingerprint: str, modes: dict[str, Mode]
) -> StudyDirectory:
    """study.yaml and study.json; an earlier plan there is replaced, runs stay. modes: by network."""
    text = yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    write_text(path / "study.yaml", text)
    facts = Facts(
        source=source,
        fingerprint=fingerprint,
        pretraining=None if plan.pretraining is None else plan.pretraining.path.relative_to(path).as_posix(),
        modes=modes,
        runs=[
            RunFacts(run.setting, run.fraction, run.seed, run.key, run.path.relative_to(path).as_posix())
            for run in plan.runs
        ],
    )
    write_json(path / "study.json", asdict(facts))
    return StudyDirectory(path)
