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

    entered = 0

    def __enter__(self) -> StopRequest:
        StopInTheThirdRun.entered += 1
        self.requested = StopInTheThirdRun.entered == 3
        return self


def test_an_interrupted_study_resumes_and_repeats_nothing(digits: Path, tmp_path: Path) -> None:
    out = tmp_path / "study"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution, "StopRequest", StopInTheThirdRun)
        StopInTheThirdRun.entered = 0
        stopped = compare(SMALL, digits, out=out, console=QUIET)
    assert stopped is not None
    states = [run.state for run in stopped.runs]
    assert states == ["finished", "interrupted", *["not started"] * 4]
    assert not (out / "report.html").exists()
    first = (stopped.runs[0].path / "status.json").stat().st_mtime_ns

    study = compare(SMALL, digits, out=out, console=QUIET)
    assert study is not None
    assert study.finished
    assert (study.runs[0].path / "status.json").stat().st_mtime_ns == first, "what is finished is not repeated"
    pretraining = study.pretraining
    assert pretraining is not None
    learnt = set(pretraining.samples().query("split == 'train'")["path"])
    scored = study.table()
    assert scored["setting"].tolist() == ["A", "C", "E"]
    assert scored["seeds"].tolist() == [2, 2, 2]
    for run in study.runs:
        opened = load(run.path)
        samples = opened.samples()
        assert not learnt & {str(opened.image(p)) for p in samples.query("split == 'validation'")["path"]}
    tops = [load(run.path).status.score for run in study.runs if run.setting == "A"]
    assert scored["mean"][0] == pytest.approx(sum(tops) / 2)

    assert not list(out.glob("runs/*/report.html")), "the study has one page, whether a run was resumed or not"
    page = (out / "report.html").read_text()
    numbers = json.loads((out / "report.json").read_text())
    assert [(pair["a"], pair["b"]) for pair in numbers["pairs"]] == [("A", "C"), ("A", "E"), ("C", "E")]
    assert numbers["answer"][0] in page
    assert "The pretraining was run once" in page
    pd.testing.assert_frame_equal(pd.read_csv(out / "report.csv"), pd.read_csv(io.StringIO(scored.to_csv(index=False))))
    assert report(out) == out / "report.html"

    more = compare(SMALL | {"seeds": [0, 1, 2], "only": ["A"]}, digits, out=out, console=QUIET)
    assert more is not None
    assert [run.seed for run in more.runs] == [0, 1, 2]
    assert (more.runs[0].path / "status.json").stat().st_mtime_ns == first


@pytest.mark.slow
def test_a_probe_interrupted_in_a_study_resumes_exactly(digits: Path, tmp_path: Path) -> None:
    only = SMALL | {"only": ["A", "E"], "seeds": [0]}
    whole = compare(only, digits, out=tmp_path / "whole", console=QUIET)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution, "StopRequest", StopInTheThirdRun)
        StopInTheThirdRun.entered = 0
        stopped = compare(only, digits, out=tmp_path / "stopped", console=QUIET)
    assert stopped is not None
    assert [run.state for run in stopped.runs] == ["finished", "interrupted"]
    assert load(stopped.runs[1].path).recipe.model.cached
    study = compare(only, digits, out=tmp_path / "stopped", console=QUIET)
    assert study is not None
    assert whole is not None
    probes = [load(one.runs[1].path) for one in (study, whole)]
    assert (probes[0].validation().probabilities == probes[1].validation().probabilities).all()
    assert study.table()["mean"].tolist() == whole.table()["mean"].tolist()


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
def test_runs_side_by_side_are_the_same_runs(digits: Path, tmp_path: Path) -> None:
    only = SMALL | {"only": ["A"], "seeds": [3, 4]}
    alone = compare(only, digits, out=tmp_path / "alone", console=QUIET)
    beside = compare(only, digits, out=tmp_path / "beside", jobs=2, console=QUIET)
    assert alone is not None
    assert beside is not None
    assert beside.finished
    assert not list((tmp_path / "beside").glob("runs/*/report.html"))
    pd.testing.assert_series_equal(alone.table()["mean"], beside.table()["mean"])


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
    done = compare(study, scenes, out=tmp_path / "study", console=QUIET)
    assert done is not None
    table = done.table()
    assert table["measure"].tolist() == ["mIoU", "mIoU"]

    scores = [miou(load(run.path).validation().confusion) for run in done.runs if run.setting == "slow"]
    assert table["mean"][0] == pytest.approx(sum(scores) / 2)
    page = (tmp_path / "study" / "report.html").read_text()
    assert "How the masks evolved" in page


@pytest.mark.parametrize(
    ("changed", "message"),
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
def test_what_cannot_work_is_reported_before_anything_is_trained(
    changed: dict[str, Any], message: str, digits: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        compare(SMALL | changed, digits, out=tmp_path / "study", console=QUIET)
    assert not (tmp_path / "study").exists()


def test_a_folder_that_holds_no_study(tmp_path: Path) -> None:
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
