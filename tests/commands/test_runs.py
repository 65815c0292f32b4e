"""The list of runs: columns, order, filters and JSON, on made-up runs."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.reporting.fake_runs import Plan, write_images, write_run

from snellen.cli import main
from snellen.commands.runs import SORTED, runs
from snellen.errors import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four runs: two that finished, one that failed, one that is damaged."""
    folder = tmp_path_factory.mktemp("runs")
    images = write_images(folder / "digits")
    for name, rate in (("good", 0.5), ("poor", 0.02), ("failed", 0.1), ("damaged", 0.1)):
        write_run(folder / "runs" / name, images, Plan(name, 2, rate))
    change(folder / "runs" / "failed", state="failed", error="The loss is not finite.", score=None, low=None, high=None)
    change(folder / "runs" / "good", seconds_training=500.0)
    (folder / "runs" / "damaged" / "status.json").write_text("{", encoding="utf-8")
    return folder / "runs"


def change(run: Path, **fields: Any) -> None:
    file = run / "status.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | fields), encoding="utf-8")


def names(folder: Path, **options: Any) -> list[str]:
    return [Path(row.run).name for row in runs(folder, **options)]


def test_order(folder: Path) -> None:
    scores = {Path(row.run).name: row.score for row in runs(folder)}
    assert scores["good"] > scores["poor"]  # type: ignore[operator]
    assert names(folder) == ["damaged", "failed", "good", "poor"]
    assert names(folder, reverse=True) == ["poor", "good", "failed", "damaged"]
    assert names(folder, sort="score") == ["good", "poor", "damaged", "failed"]
    assert names(folder, sort="score", reverse=True) == ["poor", "good", "damaged", "failed"]
    assert names(folder, sort="time")[-2:] == ["good", "damaged"]
    for column in SORTED:
        assert sorted(names(folder, sort=column)) == names(folder)


def test_filters(folder: Path) -> None:
    assert names(folder, states=["failed"]) == ["failed"]
    assert names(folder, states=["failed", "damaged"]) == ["damaged", "failed"]
    assert names(folder, recipes=["good"]) == ["good"]
    assert names(folder, data=["digits"]) == names(folder, data=["somewhere/digits/"]) == ["failed", "good", "poor"]
    assert names(folder, data=["photos"]) == []
    with pytest.raises(UserError, match=r"fail: no such state.*Did you mean 'failed'"):
        runs(folder, states=["fail"])
    with pytest.raises(UserError, match=r"scores: no such column.*Did you mean 'score'"):
        runs(folder, sort="scores")


def test_the_command_line(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "220")

    def printed(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["snellen", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        assert not stop.value.code
        return capsys.readouterr().out

    lines = printed("runs", str(folder), "--sort", "score", "--state", "failed", "--state", "finished").splitlines()
    assert lines[0].split() == ["run", "recipe", "data", "state", "epochs", "score", "95%", "interval", "time", "why"]
    assert "8 min" in lines[1]
    assert lines[-1].rstrip().endswith("The loss is not finite.")
    assert "why" not in printed("runs", str(folder), "--state", "finished").splitlines()[0]
    rows = json.loads(printed("runs", str(folder), "--json"))
    assert rows == [dataclasses.asdict(row) for row in runs(folder)]
    assert {part["part"] for part in json.loads(printed("cache", "--json"))} >= {"modes", "pixels"}
    assert "airnet-scratch" in {recipe["name"] for recipe in json.loads(printed("recipes", "--json"))}
