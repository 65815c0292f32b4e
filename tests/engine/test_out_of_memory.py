"""Memory that does not suffice where steps are timed before a run: the advice is that of training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from tests.hardware import HARDWARE

from snellen.commands.compare import compare
from snellen.commands.pretrain import pretrain
from snellen.commands.train import train
from snellen.engine import budget, loop
from snellen.errors import UserError

QUIET = Console(quiet=True)
RECIPE: dict[str, Any] = {
    "name": "small",
    "epochs": 1,
    "batch_size": 32,
    "augmentation": {"size": 16, "crop": "random"},
    "evaluation": {"size": 16},
    "model": {"backbone": "airnet", "width": 0.125},
    "hardware": HARDWARE,
}
VIEWS = {"batch_size": 32, "augmentation.size": 16, "evaluation.size": 16, "model.width": 0.125, "hardware": HARDWARE}
ADVICE = r"the device cpu ran out of memory with batch_size=32\. Try "
PARTS = ADVICE + r"accumulation=2 \(the same batch in smaller parts\) or a smaller batch_size"


@pytest.fixture(autouse=True)
def _no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def one_step(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(budget, "one_step", one_step)
    monkeypatch.setattr(loop, "one_step", one_step)


def test_of_a_budget(digits: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=PARTS):
        train(digits, RECIPE | {"budget": "1m"}, out=tmp_path / "run", console=QUIET)
    with pytest.raises(UserError, match=ADVICE + "a smaller batch_size"):
        pretrain(digits, "byol-small", overrides=VIEWS | {"budget": "1m"}, out=tmp_path / "run", console=QUIET)
    assert not (tmp_path / "run").exists()


def test_of_a_study(digits: Path, tmp_path: Path) -> None:
    study = {"name": "small", "recipe": RECIPE, "settings": [{"name": "A"}, {"name": "B", "changes": {"epochs": 2}}]}
    with pytest.raises(UserError, match=PARTS):
        compare(study, digits, out=tmp_path / "study", console=QUIET)
    assert not (tmp_path / "study").exists()


def test_of_training(digits: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=PARTS):
        train(digits, RECIPE, out=tmp_path / "run", console=QUIET)
