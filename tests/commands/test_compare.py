"""A study from its plan to its report, on as little as possible."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console
from tests.hardware import HARDWARE

from snellen import Study, UserError, compare, load, report
from snellen.commands import execution
from snellen.engine.interrupt import StopRequest
from snellen.insight.segmentation import miou

QUIET = Console(quiet=True)
SMALL: dict[str, Any] = {
    "name": "small",
    "description": "Does learning without labels help?",
    "seeds": [0, 1],
    "changes": {
        "epochs": 1,
        "batch_size": 32,
        "augmentation": {"size": 16},
        "evaluation": {"size": 16, "choose": "last"},
        "model": {"backbone": "airnet", "width": 0.125},
        "hardware": HARDWARE,
        "snapshots": {"images": 12},
    },
    "recipe": {"augmentation": {"crop": "random"}},
    "settings": [
        {"name": "A", "description": "scratch", "start": "scratch"},
        {"name": "C", "start": "self-supervised"},
        {"name": "E", "start": "self-supervised", "recipe": "linear-probe", "changes": {"sweep": []}},
    ],
    "pretraining": {
        "changes": {
            "epochs": 1,
            "batch_size": 32,
            "augmentation": {"size": 16},
            "evaluation": {"size": 16, "collapse": "warn"},
            "model": {"width": 0.125},
            "method": {"hidden": 32, "output": 8},
            "hardware": HARDWARE,
        }
    },
}


class StopInTheThirdRun(StopRequest):
    """Asks to stop at once, but only in the third run that is trained, the pretraining included."""

    entries = 0

    def __enter__(self) -> StopRequest:
        StopInTheThirdRun.entries += 1
        self.requested = StopInTheThirdRun.entries == 3
        return self


def test_an_interrupted_study_resumes_and_repeats_nothing(digits: Path, tmp_path: Path) -> None:
    out = tmp_path / "study"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution, "StopRequest", StopInTheThirdRun)
        StopInTheThirdRun.entries = 0
        interrupted_study = compare(SMALL, digits, out=out, console=QUIET)
    assert interrupted_study is not None
    states = [run.state for run in interrupted_study.runs]
    assert states == ["finished", "interrupted", *["not started"] * 4]
    assert not (out / "report.html").exists()
    first = (interrupted_study.runs[0].path / "status.json").stat().st_mtime_ns

    study = compare(SMALL, digits, out=out, console=QUIET)
    assert study is not None
    assert study.finished
    assert (study.runs[0].path / "status.json").stat().st_mtime_ns == first, "what is finished is not repeated"
    pretraining = study.pretraining
    assert pretraining is not None
    learnt = set(pretraining.samples().query("split == 'train'")["path"])
    table = study.table()
    assert table["setting"].tolist() == ["A", "C", "E"]
    assert table["seeds"].tolist() == [2, 2, 2]
    for run in study.runs:
        opened_run = load(run.path)
        samples = opened_run.samples()
        assert not learnt & {str(opened_run.image(p)) for p in samples.query("split == 'validation'")["path"]}
    scores = [load(run.path).status.score for run in study.runs if run.setting == "A"]
    assert table["mean"][0] == pytest.approx(sum(scores) / 2)

    assert not list(out.glob("runs/*/report.html")), "the study has one page, whether a run was resumed or not"
    page = (out / "report.html").read_text()
    numbers = json.loads((out / "report.json").read_text())
    assert [(pair["a"], pair["b"]) for pair in numbers["pairs"]] == [("A", "C"), ("A", "E"), ("C", "E")]
    assert numbers["answer"][0] in page
    assert "The pretraining was run once" in page
    pd.testing.assert_frame_equal(pd.read_csv(out / "report.csv"), pd.read_csv(io.StringIO(table.to_csv(index=False))))
    assert report(out) == out / "report.html"

    extended_study = compare(SMALL | {"seeds": [0, 1, 2], "only": ["A"]}, digits, out=out, console=QUIET)
    assert extended_study is not None
    assert [run.seed for run in extended_study.runs] == [0, 1, 2]
    assert (extended_study.runs[0].path / "status.json").stat().st_mtime_ns == first


@pytest.mark.slow
def test_a_probe_interrupted_in_a_study_resumes_exactly(digits: Path, tmp_path: Path) -> None:
    fields = SMALL | {"only": ["A", "E"], "seeds": [0]}
    reference = compare(fields, digits, out=tmp_path / "whole", console=QUIET)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution, "StopRequest", StopInTheThirdRun)
        StopInTheThirdRun.entries = 0
        interrupted_study = compare(fields, digits, out=tmp_path / "stopped", console=QUIET)
    assert interrupted_study is not None
    assert [run.state for run in interrupted_study.runs] == ["finished", "interrupted"]
    assert load(interrupted_study.runs[1].path).recipe.model.cached
    study = compare(fields, digits, out=tmp_path / "stopped", console=QUIET)
    assert study is not None
    assert reference is not None
    probes = [load(probe_study.runs[1].path) for probe_study in (study, reference)]
    assert (probes[0].validation().probabilities == probes[1].validation().probabilities).all()
    assert study.table()["mean"].tolist() == reference.table()["mean"].tolist()


def test_a_dry_run_writes_nothing(digits: Path, tmp_path: Path) -> None:
    output = io.StringIO()
    console = Console(file=output, width=160)
    assert compare(SMALL, digits, out=tmp_path / "study", dry_run=True, console=console) is None
    assert not (tmp_path / "study").exists()
    text = output.getvalue()
    assert "pretraining (simclr-small)" in text
    assert "6 runs" in text
    assert "left" in text


@pytest.mark.slow
def test_parallel_runs_equal_sequential_runs(digits: Path, tmp_path: Path) -> None:
    fields = SMALL | {"only": ["A"], "seeds": [3, 4]}
    sequential = compare(fields, digits, out=tmp_path / "alone", console=QUIET)
    parallel = compare(fields, digits, out=tmp_path / "beside", jobs=2, console=QUIET)
    assert sequential is not None
    assert parallel is not None
    assert parallel.finished
    assert not list((tmp_path / "beside").glob("runs/*/report.html"))
    pd.testing.assert_series_equal(sequential.table()["mean"], parallel.table()["mean"])


def test_segmenters_are_compared_by_their_miou(scenes: Path, tmp_path: Path) -> None:
    study = {
        "name": "masks",
        "seeds": [0, 1],
        "recipe": {
            "task": "segmentation",
            "epochs": 1,
            "batch_size": 4,
            "augmentation": {"size": 32},
            "evaluation": {"choose": "last"},
            "model": {"architecture": "unet/test_resnet"},
            "hardware": HARDWARE,
            "snapshots": {"images": 3},
        },
        "settings": [
            {"name": "slow", "changes": {"optimizer.lr": 0.0001}},
            {"name": "fast", "changes": {"optimizer.lr": 0.002}},
        ],
    }
    result = compare(study, scenes, out=tmp_path / "study", console=QUIET)
    assert result is not None
    table = result.table()
    assert table["measure"].tolist() == ["mIoU", "mIoU"]

    scores = [miou(load(run.path).validation().confusion) for run in result.runs if run.setting == "slow"]
    assert table["mean"][0] == pytest.approx(sum(scores) / 2)
    page = (tmp_path / "study" / "report.html").read_text()
    assert "How the masks evolved" in page


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pretraining": {"recipe": "byol-small"}}, "its backbone is airnet of width 0.125, the pretraining's airnet"),
        ({"recipe": {"task": "segmentation"}, "changes": {}, "only": ["A"]}, "no images with masks|no masks|pairs"),
        (
            {"settings": [{"name": "A"}, {"name": "B", "changes": {"data.validation_share": 0.3}}]},
            "would not be scored on the same images",
        ),
        (
            {"settings": [{"name": "A", "changes": {"model": {"backbone": "airnett", "width": 1.0}}}]},
            "setting 'A': .*no such backbone",
        ),
    ],
)
def test_impossible_settings_are_reported_before_anything_is_trained(
    changes: dict[str, Any], message: str, digits: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        compare(SMALL | changes, digits, out=tmp_path / "study", console=QUIET)
    assert not (tmp_path / "study").exists()


def test_a_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not the folder of a study"):
        Study(tmp_path)


@pytest.mark.slow
def test_a_relative_path_leads_to_the_same_images(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(digits.parent)
    spec = SMALL | {"seeds": [0], "only": ["C"]}
    assert compare(spec, digits.name, out=tmp_path / "study", dry_run=True, console=QUIET) is None
    study = compare(spec, digits.name, out=tmp_path / "study", console=QUIET)
    assert study is not None
    assert study.finished
