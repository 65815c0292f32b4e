"""Runs resumed with other threads or on another device: no longer exact, and the user is warned."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from snellen import Run
from snellen.commands import execution
from snellen.commands.pretrain import pretrain
from snellen.commands.train import resume, train
from snellen.engine.environment import processor
from snellen.engine.interrupt import StopRequest

QUIET = Console(quiet=True)
HARDWARE = {"device": "cpu", "precision": "fp32", "channels_last": False, "unfold": False}
CLASSES: dict[str, Any] = {
    "name": "small",
    "epochs": 2,
    "batch_size": 32,
    "augmentation": {"size": 16, "crop": "random"},
    "evaluation": {"size": 16},
    "model": {"backbone": "airnet", "width": 0.125},
    "hardware": HARDWARE,
    "snapshots": {"images": 0},
}
MASKS: dict[str, Any] = {
    "name": "small",
    "task": "segmentation",
    "epochs": 2,
    "batch_size": 4,
    "augmentation": {"size": 32},
    "model": {"architecture": "unet/resnet18"},
    "hardware": HARDWARE,
    "snapshots": {"images": 0},
}
VIEWS: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 32,
    "augmentation.size": 16,
    "evaluation.size": 16,
    "evaluation.collapse": "warn",
    "model.width": 0.125,
    "method.hidden": 32,
    "hardware": HARDWARE,
}


class Stop(StopRequest):
    """Asks to stop after the first step."""

    def __enter__(self) -> StopRequest:
        self.requested = True
        return self


def _stopped(kind: str, digits: Path, scenes: Path, out: Path) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution, "StopRequest", Stop)
        if kind == "pretraining":
            return pretrain(digits, "byol-small", overrides=VIEWS, out=out, console=QUIET)
        data, recipe = (digits, CLASSES) if kind == "classes" else (scenes, MASKS)
        return train(data, recipe, out=out, console=QUIET)


def _resumed(run: Run, **recorded: object) -> str:
    """What a resume says of a run whose environment.json says otherwise, as one from another machine does."""
    file = run.path / "environment.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | recorded))
    output = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution, "StopRequest", Stop)
        resume(run.path, console=Console(file=output, width=400))
    return output.getvalue()


@pytest.mark.parametrize("kind", ["classes", "pretraining", pytest.param("masks", marks=pytest.mark.slow)])
def test_other_threads_and_another_device_are_reported(kind: str, digits: Path, scenes: Path, tmp_path: Path) -> None:
    run = _stopped(kind, digits, scenes, tmp_path / "run")
    threads = run.environment.threads
    assert run.environment.device == "cpu"
    assert "bit-identical" not in _resumed(run), "the same threads and device: exact"
    output = _resumed(run, threads=threads + 5)
    assert (
        f"computed with {threads + 5} threads and resumes with {threads}, so its result will not be bit-identical"
        in output
    )
    assert f"OMP_NUM_THREADS={threads + 5}" in output
    output = _resumed(run, device="cuda:0", threads=threads)
    assert "computed on cuda:0 and resumes on cpu, so its result may not be bit-identical" in output
    output = _resumed(run, device="cpu", cpu="Another CPU")
    assert f"computed on Another CPU and resumes on {processor()}, so its result may not" in output
