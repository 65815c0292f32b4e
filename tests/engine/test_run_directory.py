"""Files of a run that were damaged since."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from tests.hardware import KEYS

from snellen import train
from snellen.commands.report import report as build_report
from snellen.commands.runs import runs, runs_table
from snellen.errors import UserError
from snellen.runs import Run
from snellen.tasks.classification.record import class_file, classes_by_epoch


@pytest.fixture(scope="module")
def finished_run(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    fields = {
        "epochs": 1,
        "evaluation.choose": "best",
        "model.width": 0.125,
        **KEYS,
    }
    return train(digits, "airnet-scratch", out=tmp_path_factory.mktemp("runs") / "whole", overrides=fields)


@pytest.mark.parametrize(
    "name",
    [
        "predictions/validation.npz",
        "predictions/correct.u8",
        "snapshots/epoch_0001.npz",
        "data.json",
        "epochs.csv",
    ],
)
@pytest.mark.parametrize("kept_share", [0, 0.5], ids=["empty", "half"])
def test_a_damaged_file_is_named(finished_run: Run, name: str, kept_share: float, tmp_path: Path) -> None:
    shutil.copytree(finished_run.path, tmp_path / "run")
    file = tmp_path / "run" / name
    if name.endswith("csv"):
        file.write_text("" if kept_share == 0 else 'epoch,"loss\n1,2,3')
    elif name.endswith("u8"):
        file.write_bytes(b"\1\0\1")
    else:
        file.write_bytes(file.read_bytes()[: int(kept_share * file.stat().st_size)])
    with pytest.raises(UserError, match=rf"{name}: damaged"):
        build_report([Run(tmp_path / "run")], tmp_path / "report.html")


def test_predicted_classes_of_each_epoch(finished_run: Run, tmp_path: Path) -> None:
    classes, predictions = classes_by_epoch(finished_run), finished_run.validation()
    assert classes is not None
    assert (classes[-1] == predictions.probabilities.argmax(1)).all()
    assert ((classes == predictions.target) == finished_run.by_epoch()).all()
    run = Run(shutil.copytree(finished_run.path, tmp_path / "run"))
    file = run.path / "predictions" / "classes.u1"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"classes\.u1: damaged"):
        classes_by_epoch(run)
    file.write_bytes(b"")
    assert classes_by_epoch(run) is None, "of fewer epochs than there are"


@pytest.mark.parametrize(
    ("classes", "file"), [(2, ("classes.u1", "<u1")), (257, ("classes.u2", "<u2")), (70_000, ("classes.u4", "<u4"))]
)
def test_the_file_of_predicted_classes_has_room_for_them(classes: int, file: tuple[str, str]) -> None:
    name, dtype = class_file(classes)
    assert (name, dtype) == (f"predictions/{file[0]}", file[1])
    assert np.iinfo(dtype).max >= classes - 1


def test_an_array_that_is_missing_is_named(finished_run: Run, tmp_path: Path) -> None:
    shutil.copytree(finished_run.path, tmp_path / "run")
    file = tmp_path / "run" / "predictions" / "validation.npz"
    np.savez(file, probabilities=finished_run.validation().probabilities)
    with pytest.raises(UserError, match=r"validation\.npz: damaged.*target"):
        Run(tmp_path / "run").validation()


def test_a_run_of_an_older_format_is_refused_in_one_sentence(finished_run: Run, tmp_path: Path) -> None:
    shutil.copytree(finished_run.path, tmp_path / "old")
    file = tmp_path / "old" / "environment.json"
    environment = json.loads(file.read_text())
    assert environment.pop("format") == 2
    file.write_text(json.dumps(environment))
    with pytest.raises(UserError, match=r"a run in format 1, but this version of snellen reads format 2\. Train it"):
        Run(tmp_path / "old")
    console = Console(file=io.StringIO(), width=200)
    console.print(runs_table(runs(tmp_path)))
    assert "of another format" in console.file.getvalue()  # type: ignore[attr-defined]
