"""A run that is stopped anywhere and resumed is the run that was never stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console
from safetensors.torch import load_file
from tests.hardware import HARDWARE

from snellen.commands import execution
from snellen.commands import train as train_command
from snellen.commands.pretrain import pretrain
from snellen.engine.interrupt import StopRequest
from snellen.run.claim import is_locked
from snellen.runs import Run
from snellen.tasks.classification.record import classes_by_epoch

QUIET = Console(quiet=True)
STEPS = 3 * 7  # epochs of 102 training images in batches of 16, the last one smaller
# Everything that draws random numbers is on: order, augmentation, mixing, dropout; and everything that has a state.
RECIPE: dict[str, Any] = {
    "name": "resumed",
    "epochs": 3,
    "batch_size": 16,
    "augmentation": {
        "size": 16,
        "crop": "random",
        "resize": 16,
        "padding": 2,
        "rotation": 10,
        "alternate_flip": True,
        "jitter": [0.2, 0.2, 0.2, 0.1],
        "erasing": 0.3,
    },
    "mix": {"mixup": 0.2, "cutmix": 1.0, "probability": 0.5},
    "evaluation": {"size": 16, "flip": True, "choose": "best"},
    "model": {"backbone": "airnet", "width": 0.125, "head": {"hidden": [16], "dropout": 0.3, "last_dropout": 0.3}},
    "loss": {"name": "soft_target", "smoothing": 0.1},
    "optimizer": {"name": "sgd", "lr": 0.05, "nesterov": True, "clip_norm": 1.0},
    "schedule": {"name": "onecycle", "warmup": 0.3, "momentum": [0.85, 0.95]},
    "ema": {"decay": 0.9},
    "hardware": HARDWARE,
    "snapshots": {"images": 10},
}


class StopAfter(StopRequest):
    """Asks to stop when it has been looked at `looks` times."""

    queries = 0

    def __init__(self) -> None:
        super().__init__()
        self._seen = 0

    @property
    def requested(self) -> bool:
        self._seen += 1
        return self._seen > StopAfter.queries

    @requested.setter
    def requested(self, value: bool) -> None:
        pass


@pytest.fixture(scope="module")
def reference(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train_command.train(digits, RECIPE, out=tmp_path_factory.mktemp("whole") / "run", console=QUIET)


def assert_same(run: Run, reference: Run) -> None:
    assert_same_metrics_and_weights(run, reference)
    assert (run.by_epoch() == reference.by_epoch()).all()
    actual, expected = classes_by_epoch(run), classes_by_epoch(reference)
    if actual is None or expected is None:
        assert run.recipe.task == "pretraining"
    else:
        assert actual.tobytes() == expected.tobytes()
        assert len(actual) == len(run.by_epoch())
    assert (run.validation().probabilities == reference.validation().probabilities).all()
    for actual, expected in zip(run.snapshots(), reference.snapshots(), strict=True):
        assert (actual.features == expected.features).all()


def assert_same_metrics_and_weights(run: Run, reference: Run) -> None:
    for name in ("best", "last"):
        actual, expected = (load_file(r.path / "checkpoints" / f"{name}.safetensors") for r in (run, reference))
        assert actual.keys() == expected.keys()
        assert all(actual[key].equal(expected[key]) for key in expected), name
    timed = ["seconds", "images_per_second"]
    pd.testing.assert_frame_equal(run.metrics().drop(columns=timed), reference.metrics().drop(columns=timed))
    pd.testing.assert_frame_equal(run.steps().drop(columns="seconds"), reference.steps().drop(columns="seconds"))
    assert run.status.state == reference.status.state == "finished"


def test_a_run_of_an_older_version_resumes_without_predicted_classes(digits: Path, tmp_path: Path) -> None:
    """Classes of later epochs alone would be mistaken for those of the first: the file is not started."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution, "StopRequest", StopAfter)
        StopAfter.queries = 10
        run = train_command.train(digits, RECIPE, out=tmp_path / "run", console=QUIET)
    last = run.path / "checkpoints" / "last.pt"
    state = torch.load(last, weights_only=True)
    assert state["progress"]["file_sizes"].pop("predictions/classes.u1") > 0, "one epoch at least"
    torch.save(state, last)
    (run.path / "predictions" / "classes.u1").unlink()
    run = train_command.resume(run.path, console=QUIET)
    assert run.status.state == "finished"
    assert not (run.path / "predictions" / "classes.u1").exists()
    assert classes_by_epoch(run) is None
    assert len(run.by_epoch()) == 3


def test_whole_run_has_every_step(reference: Run) -> None:
    assert reference.steps()["step"].tolist() == list(range(1, STEPS + 1))
    assert reference.metrics()["epoch"].tolist() == [1, 2, 3]
    assert [snapshot.epoch for snapshot in reference.snapshots()] == [1, 2, 3]


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=st.integers(0, STEPS - 1), second=st.integers(1, STEPS))
def test_stopped_twice_and_resumed(
    first: int, second: int, reference: Run, digits: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution, "StopRequest", StopAfter)
        StopAfter.queries = first
        run = train_command.train(digits, RECIPE, out=path, console=QUIET)
        assert run.status.state == "interrupted"
        StopAfter.queries = second
        run = train_command.resume(path, console=QUIET)
    if run.status.state == "interrupted":
        run = train_command.resume(path, console=QUIET)
    assert_same(run, reference)


# The target network, the queue and the centre are state as well, and so are their schedules.
METHODS = {
    "byol": {"name": "byol", "hidden": 32, "output": 8, "momentum": 0.9, "momentum_schedule": "cosine"},
    "moco": {"name": "moco", "hidden": 32, "output": 8, "queue": 64},
    "dino": {"name": "dino", "hidden": 32, "bottleneck": 8, "output": 16},
}


@pytest.mark.parametrize("method", METHODS)
def test_pretraining_stopped_and_resumed(method: str, digits: Path, tmp_path: Path) -> None:
    parts = {key: RECIPE[key] for key in ("epochs", "optimizer", "schedule", "hardware", "snapshots")}
    augmentation = {"size": 16, "scale": [0.3, 1.0], "jitter": [0.4, 0.4, 0.2, 0.1], "grey": 0.2, "blur": 0.3}
    recipe = {
        **parts,
        "task": "pretraining",
        "batch_size": 32,
        "augmentation": augmentation,
        "evaluation": {"size": 16, "data": str(digits), "collapse": "warn"},
        "model": {"backbone": "airnet", "width": 0.125},
        "method": METHODS[method],
    }
    reference = pretrain(digits, recipe, out=tmp_path / "whole", console=QUIET)
    assert reference.steps()["step"].tolist() == list(range(1, 3 * 3 + 1))  # 120 images in batches of 32
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution, "StopRequest", StopAfter)
        StopAfter.queries = 5
        run = pretrain(digits, recipe, out=tmp_path / "stopped", console=QUIET)
    assert run.status.state == "interrupted"
    run = train_command.resume(run.path, console=QUIET)
    assert_same(run, reference)
    actual, expected = (
        torch.load(either.path / "checkpoints" / "last.pt", weights_only=True) for either in (run, reference)
    )
    assert actual["model"].keys() == expected["model"].keys()
    assert all(actual["model"][key].equal(expected["model"][key]) for key in expected["model"])


# Dropout (fpn has some), augmentation, accumulation, an average of the weights, batches whose last one is smaller.
MASKS: dict[str, Any] = {
    "task": "segmentation",
    "epochs": 3,
    "batch_size": 4,
    "accumulation": 2,
    "augmentation": {
        "size": [32, 40],
        "scale": [0.7, 1.5],
        "rotation": 10,
        "vertical_flip": 0.5,
        "jitter": [0.2, 0.2, 0.2, 0.1],
    },
    "evaluation": {"flip": True, "choose": "best"},
    "model": {"architecture": "fpn/test_resnet"},
    "loss": {"terms": {"cross_entropy": 1, "dice": 0.5, "lovasz": 0.5}, "class_weights": "balanced", "smoothing": 0.05},
    "optimizer": {"name": "adamw", "lr": 0.003, "clip_norm": 1.0, "backbone_rate": 0.5},
    "schedule": {"name": "poly", "warmup": 0.2},
    "ema": {"decay": 0.9},
    "hardware": RECIPE["hardware"],
    "snapshots": {"images": 2},
}
MASK_STEPS = 3 * 3  # epochs of 11 training images in batches of 4


@pytest.fixture(scope="module")
def reference_masks(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train_command.train(scenes, MASKS, out=tmp_path_factory.mktemp("whole") / "run", console=QUIET)


@pytest.mark.slow
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=st.integers(0, MASK_STEPS - 1), second=st.integers(1, MASK_STEPS))
def test_segmentation_stopped_twice_and_resumed(
    first: int, second: int, reference_masks: Run, scenes: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution, "StopRequest", StopAfter)
        StopAfter.queries = first
        run = train_command.train(scenes, MASKS, out=path, console=QUIET)
        assert run.status.state == "interrupted"
        StopAfter.queries = second
        run = train_command.resume(path, console=QUIET)
    if run.status.state == "interrupted":
        run = train_command.resume(path, console=QUIET)
    assert_same_metrics_and_weights(run, reference_masks)
    assert (run.by_epoch() == reference_masks.by_epoch()).all()
    assert len(run.by_epoch()) == 3
    actual, expected = run.validation(), reference_masks.validation()
    assert (actual.confusion == expected.confusion).all()
    assert (actual.boundary == expected.boundary).all()
    assert actual.epoch == expected.epoch
    for snapshot, expected_snapshot in zip(run.snapshots(), reference_masks.snapshots(), strict=True):
        assert (snapshot.masks == expected_snapshot.masks).all()


def test_ctrl_c_saves_and_says_how_to_resume(digits: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(RECIPE | {"epochs": 200}, digits, out, tmp_path)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert f"to resume: snellen train --resume {out}" in errors
    assert "Traceback" not in errors
    status = Run(out).status
    assert status.state == "interrupted"
    assert Run(out).steps()["step"].iloc[-1] == status.steps_done


def start(recipe: dict[str, Any], digits: Path, out: Path, folder: Path) -> subprocess.Popen[str]:
    """A process that trains, and has done some steps."""
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    command = [sys.executable, "-m", "snellen", "train", str(folder / "recipe.yaml"), str(digits), "--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | {"COLUMNS": "300"})
    steps = out / "steps.csv"
    while process.poll() is None and not (steps.is_file() and steps.read_text().count("\n") > 20):
        time.sleep(0.05)
    return process


PROBE: dict[str, Any] = {
    "name": "probe",
    "epochs": 3,
    "batch_size": 16,
    "augmentation": {"size": 16},
    "evaluation": {"size": 16, "choose": "last"},
    "model": {"backbone": "airnet", "width": 0.125, "freeze": True, "cached": True},
    "optimizer": {"name": "adamw", "lr": 0.01},
    "hardware": RECIPE["hardware"],
    "snapshots": {"images": 10},
}


def probe(reference: Run, sweep: bool) -> dict[str, Any]:
    """A linear probe of the backbone that the run left, with the rate that it gives or the best of two."""
    model = PROBE["model"] | {"weights": str(reference.path / "checkpoints" / "best.safetensors")}
    return PROBE | {"model": model, "sweep": [0.001, 0.01] if sweep else []}


@pytest.mark.parametrize("queries", [0, 9])
@pytest.mark.parametrize("start", ["anew", "file", "sweep"])
def test_probe_stopped_and_resumed(start: str, queries: int, reference: Run, digits: Path, tmp_path: Path) -> None:
    """The features of a resumed probe are those of its own backbone, which only the checkpoint holds."""
    recipe = PROBE if start == "anew" else probe(reference, start == "sweep")
    uninterrupted = train_command.train(digits, recipe, out=tmp_path / "whole", console=QUIET)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution, "StopRequest", StopAfter)
        StopAfter.queries = queries
        run = train_command.train(digits, recipe, out=tmp_path / "stopped", console=QUIET)
        assert run.status.state == "interrupted"
    assert_same(train_command.resume(run.path, console=QUIET), uninterrupted)


# Trains in a process that kills itself when it is asked for the 12th time whether to stop.
KILLED = """
import os, signal, sys
from pathlib import Path
import yaml
from rich.console import Console
from snellen.commands import execution, train
from snellen.engine import checkpoint
from snellen.engine.interrupt import StopRequest

class Kill(StopRequest):
    looks = 0

    @property
    def requested(self):
        Kill.looks += 1
        if Kill.looks == 12:
            os.kill(os.getpid(), signal.SIGKILL)
        return False

    @requested.setter
    def requested(self, value):
        pass

recipe, data, out, saving = sys.argv[1:]
checkpoint._SECONDS_BETWEEN = 0.0 if saving == "each step" else 1e9
checkpoint._SHARE_OF_TIME = 1e9
execution.StopRequest = Kill
train.train(data, yaml.safe_load(Path(recipe).read_text()), out=out, console=Console(quiet=True))
"""


def killed(script: str, *arguments: object) -> None:
    """Runs a script in a process that must end by SIGKILL."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    process = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    assert process.returncode == -signal.SIGKILL, process.stderr


def test_killed_and_resumed(reference: Run, digits: Path, tmp_path: Path) -> None:
    """SIGKILL leaves no time to save anything: the run resumes from its last checkpoint, here from none."""
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    killed(KILLED, tmp_path / "recipe.yaml", digits, tmp_path / "killed", "never")
    run = Run(tmp_path / "killed")
    assert run.status.state == "running"
    assert not is_locked(run.path), "whoever trained it is gone"
    assert not (run.path / "checkpoints" / "last.pt").exists()
    assert_same(train_command.resume(run.path, console=QUIET), reference)


@pytest.mark.slow
def test_probe_killed_and_resumed(reference: Run, digits: Path, tmp_path: Path) -> None:
    recipe = probe(reference, sweep=True)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    killed(KILLED, tmp_path / "recipe.yaml", digits, tmp_path / "killed", "each step")
    run = Run(tmp_path / "killed")
    assert run.status.state == "running"
    assert (run.path / "checkpoints" / "last.pt").is_file()
    uninterrupted = train_command.train(digits, recipe, out=tmp_path / "whole", console=QUIET)
    assert_same(train_command.resume(run.path, console=QUIET), uninterrupted)
