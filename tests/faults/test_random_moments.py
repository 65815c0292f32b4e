"""Real runs of all kinds and a study, with faults at drawn moments: after the next commands, nothing is lost.

`python -m tests.faults 200 --seed 1` tries more of them and counts.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.faults import trials
from tests.faults.trials import Drawn, Fault, Lab, attempt, draw

SEED = 0
TRIALS = 40  # each fault once for each kind


@pytest.fixture(scope="module")
def lab(digits: Path, scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab({"digits": digits, "scenes": scenes}, tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("fault", [trials.killed, trials.terminated, trials.damaged_checkpoint])
def test_a_fault_loses_nothing(fault: Fault, lab: Lab) -> None:
    attempt(lab, Drawn(SEED, trials.FAULTS.index(fault), "classification", fault))


@pytest.mark.slow
@pytest.mark.parametrize("drawn", [draw(SEED + 1, number) for number in range(TRIALS)], ids=str)
def test_faults_lose_nothing(drawn: Drawn, lab: Lab) -> None:
    attempt(lab, drawn)
