"""Small real images for all tests: scikit-learn's digits and photographs, and drawn scenes with masks."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

# Networks here are tiny: a second thread gains nothing, and on a busy machine the two wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Which mode is the fastest is measured anew in each session, and never in the user's cache folder.
os.environ["SNELLEN_CACHE"] = tempfile.mkdtemp(prefix="snellen-tests-")

import pytest
import torch
from sklearn.datasets import load_sample_image
from tests.images import write_digits, write_scenes
from torch import Tensor

from snellen.engine import budget


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--mode",
        choices=["fp32", "bf16", "bf16-last", "bf16-last-unfolded"],
        help="precision and layout of every run whose recipe leaves them open, subprocesses included",
    )


def pytest_configure(config: pytest.Config) -> None:
    mode = config.getoption("--mode")
    if mode:
        os.environ["SNELLEN_MODE"] = mode  # engine.precision reads it, in subprocesses too


def pytest_unconfigure() -> None:
    shutil.rmtree(os.environ["SNELLEN_CACHE"], ignore_errors=True)


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders 0, 1, 2 with 40 digits each, 16 x 16 px PNG files."""
    return write_digits(tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="session")
def photograph() -> Tensor:
    """(3, 427, 640) uint8, a real photograph."""
    return torch.from_numpy(load_sample_image("china.jpg").copy()).permute(2, 0, 1).contiguous()


@pytest.fixture(scope="session")
def flower() -> Tensor:
    """(3, 427, 640) uint8, another one."""
    return torch.from_numpy(load_sample_image("flower.jpg").copy()).permute(2, 0, 1).contiguous()


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Land-cover scenes of 48 x 48 px: 11 to train on, 5 to score, with masks in the reference's colours and layout."""
    return write_scenes(tmp_path_factory.mktemp("scenes"))


@pytest.fixture
def known_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps and scores are timed, and then taken to need 0.05 and 0.1 seconds, on any machine."""
    monkeypatch.setattr(budget, "_TIMED_SECONDS", 0.1)
    steps, scores = budget.step_seconds, budget.evaluation_seconds
    monkeypatch.setattr(budget, "step_seconds", lambda job: 0.05 + 0 * steps(job))
    monkeypatch.setattr(budget, "evaluation_seconds", lambda job: 0.1 + 0 * scores(job))
