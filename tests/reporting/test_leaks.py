"""The score without leaked images: from a check, through a run, to the page."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from tests.commands.test_check_copies import leaky as leaky
from tests.hardware import KEYS
from tests.reporting.test_build import FAST, text_of

from snellen import check, report, train


@pytest.mark.slow  # trains twice
def test_a_checked_set_has_its_score_without_the_leaked_images(leaky: Path, tmp_path: Path) -> None:
    checked = check(leaky, quiet=True)
    assert checked.copies.leaked == {"validation": [4, 9]}
    said = io.StringIO()
    fields = FAST | KEYS | {"epochs": 1, "model.width": 0.0625}
    runs = [
        train(
            leaky,
            "airnet-scratch",
            out=tmp_path / name,
            console=Console(file=said, width=300),
            overrides=fields | {"name": name, "seed": seed},
        )
        for seed, name in enumerate(("one", "two"))
    ]
    assert "2 validation images are copies of training images" in said.getvalue()
    for run in runs:
        assert run.data["leaked"] == {"validation": [4, 9]}
    page = report(runs[0], tmp_path / "one.html")
    numbers = json.loads(page.with_suffix(".json").read_text())["runs"][0]["without_leaked"]
    correct = runs[0].predictions()["correct"].to_numpy()
    clean = [value for row, value in enumerate(correct) if row not in (4, 9)]
    assert numbers["value"] == pytest.approx(sum(clean) / 8)
    assert numbers["change"] == pytest.approx(sum(clean) / 8 - correct.mean())
    assert "Without the 2 leaked images" in text_of(page)
    both = report(runs, tmp_path / "both.html")
    difference = json.loads(both.with_suffix(".json").read_text())["without_leaked"]
    other = runs[1].predictions()["correct"].to_numpy()
    if difference:  # runs that have not learnt are not compared
        expected = sum(a - b for row, (a, b) in enumerate(zip(correct, other, strict=True)) if row not in (4, 9)) / 8
        assert difference[0]["value"] == pytest.approx(expected)
