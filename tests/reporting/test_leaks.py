"""The score without leaked images: from a check, through a run, to the page."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from tests.commands.test_check_copies import leaky as leaky
from tests.hardware import KEYS
from tests.reporting.fake_runs import Plan, write_images, write_pretraining_run, write_run
from tests.reporting.test_build import FAST, text_of

from snellen import Run, check, report, train


@pytest.mark.slow  # trains
def test_a_checked_set_has_its_score_without_the_leaked_images(leaky: Path, tmp_path: Path) -> None:
    checked = check(leaky, quiet=True)
    assert checked.copies.leaked == {"validation": [4, 9]}
    said = io.StringIO()
    fields = FAST | KEYS | {"epochs": 1, "model.width": 0.0625}
    run = train(leaky, "airnet-scratch", out=tmp_path / "run", console=Console(file=said, width=300), overrides=fields)
    assert "2 validation images are copies of training images" in said.getvalue()
    assert run.data["leaked"] == {"validation": [4, 9]}
    page = report(run, tmp_path / "one.html")
    numbers = json.loads(page.with_suffix(".json").read_text())["runs"][0]["without_leaked"]
    correct = run.predictions()["correct"].to_numpy()
    clean = [value for row, value in enumerate(correct) if row not in (4, 9)]
    assert numbers["value"] == pytest.approx(sum(clean) / 8)
    assert numbers["change"] == pytest.approx(sum(clean) / 8 - correct.mean())
    assert "Without the 2 leaked images" in text_of(page)


def test_a_comparison_has_its_difference_without_the_images_leaked_in_either_run(tmp_path: Path) -> None:
    images, runs, rows = write_images(tmp_path / "images", 10, 40), [], ([0, 5, 17], [5, 40])
    for name, epochs, leaked in zip(("long", "short"), (12, 4), rows, strict=True):
        path = write_run(tmp_path / name, images, Plan(name, epochs, overrides={"evaluation.choose": "last"})).path
        data = json.loads((path / "data.json").read_text())
        (path / "data.json").write_text(json.dumps(data | {"leaked": {"validation": leaked}}))
        runs.append(Run(path))
    page = report(runs, tmp_path / "both.html")
    (numbers,) = json.loads(page.with_suffix(".json").read_text())["without_leaked"]
    long, short = (run.predictions()["correct"].to_numpy().astype(float) for run in runs)
    clean = ~np.isin(np.arange(len(long)), [0, 5, 17, 40])
    value = (long - short)[clean].mean()
    assert (numbers["leaked"], numbers["images"]) == (4, clean.sum())
    assert numbers["value"] == pytest.approx(value)
    assert numbers["change"] == pytest.approx(value - (long - short).mean())
    assert numbers["interval"]["low"] < value < numbers["interval"]["high"]
    ahead = f"Without the 4 leaked images, long is ahead of short by {100 * value:.1f} points"
    assert ahead in text_of(page)


def test_a_page_of_many_runs_has_a_sentence_for_each_run_with_leaks(tmp_path: Path) -> None:
    images, runs = write_images(tmp_path / "images", 10, 30), []
    for number in range(5):
        path = write_run(tmp_path / f"net{number}", images, Plan(f"net{number}", 3, seed=number)).path
        data = json.loads((path / "data.json").read_text())
        (path / "data.json").write_text(json.dumps(data | {"leaked": {"validation": [0, 5][: 2 * (number < 4)]}}))
        runs.append(Run(path))
    page = report(runs, tmp_path / "many.html")
    numbers = json.loads(page.with_suffix(".json").read_text())
    sentences = [sentence for sentence in numbers["headline"] if "leaked" in sentence]
    assert [f"net{number} scores" in sentence for number, sentence in enumerate(sentences)] == [True] * 4
    assert len(numbers["without_leaked"]) == 10, "the differences of all pairs are in the file"


def test_a_pretraining_run_has_its_figure_without_copies_of_images_known_with_labels(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", 10, 30)
    run = write_pretraining_run(tmp_path / "features", images, Plan("features", 3))
    data = json.loads((run.path / "data.json").read_text())
    (run.path / "data.json").write_text(json.dumps(data | {"leaked": {"validation": [0, 1, 2]}}))
    page = report(Run(run.path), tmp_path / "page.html")
    value = run.predictions()["correct"].to_numpy()[3:].mean()
    start = (
        "Without the 3 leaked images, copies of images it was trained on or knows with their labels, features scores"
    )
    assert f"{start} k-NN top-1 {value:.1%}" in text_of(page)
