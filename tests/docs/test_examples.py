"""The examples in the docstrings of the front door run as written, on small images; only the networks are smaller."""

from __future__ import annotations

import doctest
import inspect
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from tests.hardware import KEYS

import snellen
from snellen.data.masks.scenes import draw_scenes

# The examples continue one another: later ones use the runs of earlier ones.
FUNCTIONS = [
    *("check", "shard", "train", "pretrain", "compare", "load", "predict", "evaluate", "export", "report"),
    *("push", "load_model"),
]

VIEWS = {"batch_size": 32, "augmentation.size": 16, "evaluation.size": 16, "model.width": 0.125, "snapshots.images": 0}
SMALL: dict[str, Any] = VIEWS | KEYS
SMALLER: dict[str, dict[str, Any]] = {
    "train": SMALL | {"augmentation.resize": 16},
    "pretrain": SMALL | {"evaluation.collapse": "warn"},
    "compare": {f"changes.{key}": value for key, value in SMALL.items()} | {"changes.epochs": 1},
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of a reader: digits/ in train/ and val/, 30 and 10 of each class; scenes/; a recipe."""
    data = load_digits()
    for label in range(3):
        for number, row in enumerate(np.flatnonzero(data.target == label)[:40]):
            file = tmp_path / "digits" / ("train" if number < 30 else "val") / str(label) / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((data.images[row] * (255 / 16)).astype(np.uint8)).resize((16, 16)).save(file)
    (tmp_path / "mine.yaml").write_text(
        "name: mine\nmodel: {backbone: airnet}\noptimizer: {lr: 0.01}\n", encoding="utf-8"
    )
    draw_scenes(tmp_path / "scenes", 16, size=48, validation_share=0.3)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_examples_run(folder: Path) -> None:
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    report: list[str] = []
    for name in FUNCTIONS:
        text = inspect.getdoc(getattr(snellen, name)) or ""
        example = doctest.DocTestParser().get_doctest(text, {"snellen": _small_snellen()}, name, None, None)
        assert example.examples, name
        assert runner.run(example, out=report.append).failed == 0, "".join(report)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_parameter_has_a_line(name: str) -> None:
    function = getattr(snellen, name)
    documented = [
        line.strip().partition(":")[0]
        for line in (inspect.getdoc(function) or "").partition("Parameters:\n")[2].partition("\n\n")[0].splitlines()
        if line.startswith("    ") and not line.startswith("     ")
    ]
    assert documented == list(inspect.signature(function).parameters)


def _small_snellen() -> SimpleNamespace:
    """The front door with small networks and images, fixed hardware, and nothing printed."""
    names = {name: getattr(snellen, name) for name in FUNCTIONS}
    for name, function in names.items():
        defaults: dict[str, Any] = {"quiet": True} if "quiet" in inspect.signature(function).parameters else {}
        if name in SMALLER:
            defaults["overrides"] = SMALLER[name]
        names[name] = partial(function, **defaults)
    return SimpleNamespace(**names)
