"""Runs whose loss is no longer a number: once more in fp32, or an end that says what would be right."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from tests.faults.kinds import CASES

from snellen.commands import execution
from snellen.commands.compare import compare
from snellen.commands.pretrain import pretrain
from snellen.commands.replay import replay
from snellen.commands.report import report
from snellen.commands.train import resume, train
from snellen.engine import budget, loop
from snellen.engine.capture import read_capture
from snellen.engine.checkpoint import Checkpoint, saved_progress
from snellen.engine.interrupt import StopRequest
from snellen.engine.loop import weights_are_finite
from snellen.errors import UserError
from snellen.runs import Run

QUIET = Console(quiet=True)
HARDWARE = {"device": "cpu", "precision": "bf16", "channels_last": False, "unfold": False, "threads": 1}
RECIPE: dict[str, Any] = {
    "name": "small",
    "epochs": 4,
    "batch_size": 32,
    "augmentation": {"size": 16, "crop": "random", "resize": 16, "padding": 2},
    "evaluation": {"size": 16},
    "model": {"backbone": "airnet", "width": 0.125},
    "optimizer": {"name": "sgd", "lr": 0.05},
    "hardware": HARDWARE,
    "snapshots": {"images": 0},
}
STEPS = 4  # in an epoch: 102 images in batches of 32
FP32 = RECIPE | {"hardware": HARDWARE | {"precision": "fp32"}}
TOO_MUCH = {"optimizer": {"name": "sgd", "lr": 1e30, "clip_norm": None}, "schedule": {"name": "constant"}}


@pytest.fixture
def fails_in_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss of the tenth step is not finite, in bf16 only."""
    original_step = loop.one_step

    def one_step(job: Any, model: Any, optimizer: Any, batch: Any, step: int) -> Any:
        loss, *rest = original_step(job, model, optimizer, batch, step)
        return (loss * torch.nan if job.mode.precision == "bf16" and step == 9 else loss, *rest)

    monkeypatch.setattr(loop, "one_step", one_step)


def assert_same(run: Run, other: Run) -> None:
    for name in ("best", "last"):
        actual, expected = (load_file(r.path / "checkpoints" / f"{name}.safetensors") for r in (run, other))
        assert all(actual[key].equal(expected[key]) for key in expected), name
    timed = ["seconds", "images_per_second"]
    pd.testing.assert_frame_equal(run.metrics().drop(columns=timed), other.metrics().drop(columns=timed))
    pd.testing.assert_frame_equal(run.steps().drop(columns="seconds"), other.steps().drop(columns="seconds"))
    assert (run.by_epoch() == other.by_epoch()).all()
    assert run.status.chosen_epoch == other.status.chosen_epoch


@pytest.mark.usefixtures("fails_in_bf16")
def test_without_a_checkpoint_the_run_starts_over_in_fp32(digits: Path, tmp_path: Path) -> None:
    output = io.StringIO()
    run = train(digits, RECIPE, out=tmp_path / "run", console=Console(file=output, width=400))
    assert "the loss is nan at step 10" in output.getvalue()
    assert "The run continues in fp32, from the start" in output.getvalue()
    assert run.status.state == "finished"
    assert_same(run, train(digits, FP32, out=tmp_path / "fp32", console=QUIET))
    assert Run(run.path).recipe.hardware.precision == "fp32"
    page = (run.path / "report.html").read_text()
    assert "the loss is nan at step 10" in page
    assert "it continued in fp32 from step 0" in page


class StopAfter(StopRequest):
    """Asks to stop at its n-th look, in the attempt in fp32."""

    starts = 0

    def __enter__(self) -> StopRequest:
        StopAfter.starts += 1
        self._looks = 0
        return self

    @property
    def requested(self) -> bool:
        self._looks += 1
        return StopAfter.starts == 2 and self._looks > 3

    @requested.setter
    def requested(self, value: bool) -> None:
        pass


@pytest.mark.usefixtures("fails_in_bf16")
def test_from_a_checkpoint_and_stopped_after_the_switch(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint is of step 4, the epochs after it were scored and may be better: they are done again."""
    due = property(lambda self: not self._path.is_file())
    monkeypatch.setattr(Checkpoint, "due", due)
    reference = train(digits, RECIPE, out=tmp_path / "whole", console=QUIET)
    assert reference.environment.switches[0].step == 1, "saved after the first step"
    assert reference.steps()["step"].tolist() == list(range(1, 4 * STEPS + 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution, "StopRequest", StopAfter)
        StopAfter.starts = 0
        stopped_run = train(digits, RECIPE, out=tmp_path / "stopped", console=QUIET)
    assert stopped_run.status.state == "interrupted"
    assert stopped_run.mode.precision == "fp32"
    assert_same(resume(stopped_run.path, console=QUIET), reference)


def test_divergence_in_fp32_ends_the_run_and_no_resume_is_offered(digits: Path, tmp_path: Path) -> None:
    advice = r"Start again with a lower optimizer\.lr, for example optimizer\.lr=1e\+29$"
    with pytest.raises(UserError, match=advice) as error:
        train(digits, RECIPE | TOO_MUCH, out=tmp_path / "run", console=QUIET)
    assert "resume" not in str(error.value)
    run = Run(tmp_path / "run")
    assert run.status.state == "failed"
    assert len(run.environment.switches) == 1, "it was tried in fp32 first"
    with pytest.raises(UserError, match=advice):
        resume(run.path, console=QUIET)


@pytest.mark.parametrize("clip", [None, 1.0])
def test_weights_that_are_not_finite_are_never_scored(digits: Path, tmp_path: Path, clip: float | None) -> None:
    """One step an epoch: its loss was a number, and NaN logits count as right where the class is the first."""
    diverging = {"optimizer": {"name": "sgd", "lr": 1e38, "weight_decay": 1e38, "clip_norm": clip}}
    single_step = {"batch_size": 128, "epochs": 1, "schedule": {"name": "constant"}}
    with pytest.raises(
        UserError, match=r"(weights|outputs .*) are not finite .*Start again with a lower optimizer\.lr"
    ):
        train(digits, FP32 | single_step | diverging, out=tmp_path / "run", console=QUIET)
    run = Run(tmp_path / "run")
    assert run.status.state == "failed"
    assert run.status.score is None
    assert not (run.path / "checkpoints" / "best.safetensors").exists()


def test_features_that_are_not_finite_are_left_out_of_the_report(digits: Path, tmp_path: Path) -> None:
    run = train(digits, FP32 | {"snapshots": {"images": 10}}, out=tmp_path / "run", console=QUIET)
    file = run.path / "snapshots" / "epoch_0004.npz"
    arrays = dict(np.load(file))
    arrays["features"][0, 0] = np.nan
    np.savez(file, **arrays)
    assert "features are not finite after epoch 4" in report([run], tmp_path / "report.html").read_text()


STUDY: dict[str, Any] = {
    "name": "modes",
    "seeds": [0],
    "recipe": {key: value for key, value in RECIPE.items() if key not in {"name", "hardware"}},
    "changes": {"evaluation.choose": "last"},
}


@pytest.mark.usefixtures("fails_in_bf16")
def test_the_page_of_a_study_names_the_run_that_went_on_in_fp32(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "_TIMED_SECONDS", 0.0)
    settings = [
        {"name": "half", "changes": {"hardware": HARDWARE}},
        {"name": "full", "changes": {"hardware": FP32["hardware"], "optimizer.lr": 0.04}},
    ]
    study = compare(STUDY | {"settings": settings}, digits, out=tmp_path / "study", console=QUIET)
    assert study is not None
    half, full = (Run(run.path) for run in study.runs)
    reason = "the loss is nan at step 10 (epoch 3, learning rate 0.05), in bf16"
    sentence = f"{half.name}: {reason}; it continued in fp32 from step 0."
    page = (study.path / "report.html").read_text()
    assert page.count(sentence) == 1
    assert f"{full.name}: the loss" not in page
    single_run = train(
        digits, FP32 | {"evaluation": {"size": 16, "choose": "last"}}, out=tmp_path / "alone", console=QUIET
    )
    assert_same(half, single_run)


def test_a_huge_but_finite_loss_is_printed_and_the_report_written(digits: Path, tmp_path: Path) -> None:
    diverging = {"optimizer": {"name": "lion", "lr": 30.0, "clip_norm": None}, "schedule": {"name": "constant"}}
    output = io.StringIO()
    recipe = FP32 | diverging | {"snapshots": {"images": 10}}
    run = train(digits, recipe, out=tmp_path / "run", console=Console(file=output, width=400))
    loss = run.metrics()["validation_loss"].iloc[-1]
    assert np.isfinite(loss)
    assert loss > 1e4
    assert f"validation loss {loss:.2g}, top-1" in output.getvalue()
    assert "Lower optimizer.lr, for example optimizer.lr=3" in output.getvalue()
    page = (run.path / "report.html").read_text()
    assert f"training diverged: its final loss is {loss:.2g}" in page.replace("&#43;", "+")


def test_the_step_that_diverged_is_kept_and_computed_again(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss is read after later steps; what is kept is the state before the first whose numbers are not finite."""
    monkeypatch.setattr(Checkpoint, "due", property(lambda self: not self._path.is_file()))
    rate_too_high = {"optimizer": {"name": "sgd", "lr": 3e18, "clip_norm": None}, "schedule": {"name": "constant"}}
    with pytest.raises(UserError, match=r"are kept in .*diverged\.pt\. Start again with"):
        train(digits, FP32 | rate_too_high | {"ema": {"decay": 0.9}}, out=tmp_path / "run", console=QUIET)
    captured = read_capture(tmp_path / "run")
    assert captured["step"] >= saved_progress(tmp_path / "run").step > 0
    assert captured["epoch"] == 1
    assert captured["seed"] == 0
    assert len(captured["batch"]["images"]) == 32
    assert all(tensor.isfinite().all() for part in ("model", "ema") for tensor in captured[part].values())
    job, loss = replay(tmp_path / "run")
    assert not (loss.isfinite() and weights_are_finite(job))
    before = [row["loss"] for row in csv.DictReader((tmp_path / "run" / "steps.csv").open())]
    assert all(np.isfinite(float(value)) for value in before)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["segmentation", "pretraining"])
def test_the_step_is_kept_in_every_task(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    case = CASES[kind]
    images = request.getfixturevalue(case.images)
    command = pretrain if kind == "pretraining" else train
    with pytest.raises(UserError, match=r"diverged\.pt"):
        command(images, case.recipe(images) | TOO_MUCH, out=tmp_path / "run", console=QUIET)
    job, loss = replay(tmp_path / "run")
    assert not (loss.isfinite() and weights_are_finite(job))


@pytest.mark.usefixtures("fails_in_bf16")
def test_the_step_is_kept_in_the_mode_that_diverged(digits: Path, tmp_path: Path) -> None:
    output = io.StringIO()
    run = train(digits, RECIPE, out=tmp_path / "run", console=Console(file=output, width=400))
    assert f"are kept in {run.path / 'diverged.pt'}" in output.getvalue()
    captured = read_capture(run.path)
    assert (captured["step"], captured["epoch"], captured["step_in_epoch"]) == (9, 3, 1)
    job, loss = replay(run)
    assert job.mode.precision == "bf16"
    assert loss.isnan()
    with pytest.raises(UserError, match=r"holds no diverged\.pt"):
        replay(train(digits, FP32, out=tmp_path / "fp32", console=QUIET))
