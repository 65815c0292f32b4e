"""Real runs of all kinds and a study, with faults at drawn moments: after the next commands, nothing is lost.

Each test is a process of its own, `python -m tests.faults`: it forks its commands, which hangs in a process where other
tests have left threads behind. `python -m tests.faults 200 --seed 1` tries more of them and counts.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
AT_ONCE = 10


def try_faults(*arguments: str) -> str:
    """What `python -m tests.faults ARGUMENTS` prints; it must have lost nothing."""
    command = [sys.executable, "-m", "tests.faults", *arguments]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def test_faults_of_a_classifier_lose_nothing() -> None:
    """Killed, killed twice, terminated, and a damaged checkpoint."""
    assert "all | all | 4 | 0" in try_faults("13", "--only", "classification")


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 40, AT_ONCE))  # in all, each fault once for each kind
def test_faults_lose_nothing(first: int) -> None:
    assert "all | all | 10 | 0" in try_faults(str(AT_ONCE), "--first", str(first), "--seed", "1")
