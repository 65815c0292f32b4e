"""The mode of a study's runs: one for each network, kept in study.json; where modes differ, the page says so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from snellen import compare, load
from snellen.engine import budget
from snellen.engine.mode import NAMED_MODES

QUIET = Console(quiet=True)
FIXED: dict[str, Any] = {"device": "cpu", "channels_last": False, "unfold": False, "threads": 1}
STUDY: dict[str, Any] = {
    "name": "modes",
    "seeds": [0],
    "recipe": {
        "epochs": 1,
        "batch_size": 32,
        "augmentation": {"size": 16, "crop": "random"},
        "evaluation": {"size": 16, "choose": "last"},
        "model": {"backbone": "airnet", "width": 0.125},
        "snapshots": {"images": 0},
    },
}
MASKS: dict[str, Any] = {
    "name": "modes",
    "seeds": [0],
    "recipe": {
        "task": "segmentation",
        "epochs": 1,
        "batch_size": 4,
        "augmentation": {"size": 32},
        "evaluation": {"choose": "last"},
        "model": {"architecture": "unet/resnet18"},
        "snapshots": {"images": 0},
    },
}


@pytest.fixture(autouse=True)
def _timed_shortly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "_TIMED_SECONDS", 0.0)


def _modes_in(page: str) -> dict[str, list[str]]:
    """The rows of "what differs" that name the mode: a value for each setting."""
    rows = re.findall(r'<tr><th scope="row"><code>(measured\.[a-z_]+)</code></th>(.*?)</tr>', page)
    return {key: re.findall(r"<td><code>(.*?)</code></td>", cells) for key, cells in rows}


def test_settings_with_one_network_share_the_mode_that_the_study_keeps(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left open by the recipe: what was the fastest when the study began holds for all its runs, the later ones too."""
    settings = [
        {"name": "small", "changes": {"batch_size": 16, "hardware": {"device": "cpu", "threads": 1}}},
        {"name": "large", "changes": {"optimizer.lr": 0.02, "hardware": {"device": "cpu", "threads": 1}}},
    ]
    out, first = tmp_path / "study", "bf16-last-unfolded"
    for seeds, fastest in (([0], first), ([0, 1], "fp32")):
        monkeypatch.setenv("SNELLEN_MODE", fastest)
        study = compare(STUDY | {"settings": settings, "seeds": seeds}, digits, out=out, console=QUIET)
        assert study is not None
        assert list(study.facts.modes.values()) == [NAMED_MODES[first]], "one network, one mode"
        assert [load(run.path).mode for run in study.runs] == [NAMED_MODES[first]] * 2 * len(seeds)
        assert not _modes_in((out / "report.html").read_text())


@pytest.mark.parametrize(
    ("study", "data"),
    [
        pytest.param(STUDY, "digits", id="classes"),
        pytest.param(MASKS, "scenes", id="masks", marks=pytest.mark.slow),
    ],
)
def test_the_page_lists_modes_that_differ(
    study: dict[str, Any], data: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    settings = [
        {"name": "full", "changes": {"hardware": FIXED | {"precision": "fp32"}}},
        {
            "name": "half",
            "changes": {"hardware": FIXED | {"precision": "bf16", "channels_last": True}, "optimizer.lr": 0.002},
        },
    ]
    spec = study | {"settings": settings}
    result = compare(spec, request.getfixturevalue(data), out=tmp_path / "study", console=QUIET)
    assert result is not None
    assert len(result.facts.modes) == 2
    rows = _modes_in((tmp_path / "study" / "report.html").read_text())
    assert rows == {"measured.precision": ["fp32", "bf16"], "measured.channels_last": ["false", "true"]}
