"""The page says what the runs' own files say, needs nothing else, and bears with what is missing."""

from __future__ import annotations

import json
import re
import shutil
from html import unescape
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console
from scipy import stats
from tests.hardware import KEYS

from snellen import Run, UserError, report, train

FAST: dict[str, Any] = {
    "batch_size": 16,
    "model.width": 0.125,
    "augmentation.size": 16,
    "augmentation.resize": 16,
    "evaluation.size": 16,
    **KEYS,
}


@pytest.fixture(scope="module")
def runs(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    folder, quiet = tmp_path_factory.mktemp("runs"), Console(quiet=True)
    wide_run = train(digits, "airnet-scratch", out=folder / "wide", console=quiet, overrides=FAST | {"epochs": 8})
    fields = FAST | {"epochs": 4, "name": "brief"}
    return [wide_run, train(digits, "airnet-scratch", out=folder / "brief", console=quiet, overrides=fields)]


@pytest.fixture(scope="module")
def page(runs: list[Run], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report(runs, tmp_path_factory.mktemp("report") / "both.html")


def text_of(page: Path) -> str:
    html = re.sub(r"<(script|style).*?</\1>", " ", page.read_text(), flags=re.DOTALL)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", html)))


def test_the_paired_test_is_that_of_the_predictions(runs: list[Run], page: Path) -> None:
    a, b = (run.predictions().set_index("path")["correct"].to_numpy() for run in runs)
    comparison = json.loads(page.with_suffix(".json").read_text())["comparisons"][0]
    only_a, only_b = int((a > b).sum()), int((b > a).sum())
    assert (comparison["only_a"], comparison["only_b"], comparison["images"]) == (only_a, only_b, len(a))
    assert comparison["difference"] == pytest.approx(a.mean() - b.mean())
    expected, discordant = 1.0, only_a + only_b
    if only_a != only_b:  # with as many on both sides the mid-p is twice half of one
        expected = stats.binomtest(only_a, discordant).pvalue - stats.binom.pmf(min(only_a, only_b), discordant, 0.5)
    assert comparison["p_value"] == pytest.approx(expected)
    assert comparison["sentence"] in text_of(page)


def test_the_figures_are_those_of_the_run(runs: list[Run], page: Path) -> None:
    table = pd.read_csv(page.with_suffix(".csv"))
    for run, row in zip(runs, table.to_dict("records"), strict=True):
        correct = run.predictions()["correct"]
        assert (row["correct"], row["images"]) == (correct.sum(), len(correct))
        assert row["top1"] == pytest.approx(correct.mean())
        assert f"{100 * correct.mean():.1f}" in text_of(page)


def test_what_differs_is_listed(page: Path) -> None:
    numbers = json.loads(page.with_suffix(".json").read_text())
    assert [row["field"] for row in numbers["differing"]] == ["epochs"]


def test_the_choice_of_the_epoch_is_stated(page: Path) -> None:
    text = text_of(page)
    assert "airnet-scratch: epoch 8, the last; it was not chosen by its score." in text
    assert "brief: epoch 4, the last" in text


def test_the_page_needs_nothing_else(page: Path) -> None:
    html = page.read_text()
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", html)
    assert "@import" not in html
    assert len(html) < 10_000_000


def test_points_are_those_of_the_snapshots(runs: list[Run], page: Path) -> None:
    point_data = [
        json.loads(unescape(match)) for match in re.findall(r'class="points">(.*?)</script>', page.read_text())
    ]
    assert [data["epochs"] for data in point_data] == [[1, 4, 8], [1, 2, 4]]
    rows = runs[0].snapshots()[0].rows
    samples = runs[0].samples().query("split == 'validation'").reset_index(drop=True)
    assert point_data[0]["labels"] == samples["target"].iloc[rows].tolist()
    assert len(point_data[0]["points"]["pca"][0]) == len(rows)


def test_a_stopped_run_is_labelled_as_such(runs: list[Run], tmp_path: Path) -> None:
    path = tmp_path / "run"
    shutil.copytree(runs[0].path, path)
    status = json.loads((path / "status.json").read_text())
    (path / "status.json").write_text(json.dumps(status | {"state": "interrupted", "epochs_done": 2}))
    text = text_of(report(path))
    assert "is interrupted: 2 of 8 epochs done. The learning rate schedule was planned for all of them" in text


def test_a_run_without_scores_or_images(runs: list[Run], tmp_path: Path) -> None:
    path = tmp_path / "run"
    shutil.copytree(runs[0].path, path)
    for name in ("predictions", "snapshots"):
        shutil.rmtree(path / name)
    (path / "epochs.csv").unlink()
    status = json.loads((path / "status.json").read_text())
    (path / "status.json").write_text(json.dumps(status | {"chosen_epoch": None, "top1": None}))
    data = json.loads((path / "data.json").read_text())
    (path / "data.json").write_text(json.dumps(data | {"root": str(tmp_path / "gone")}))
    assert "has not been scored yet" in text_of(report(path))


def test_runs_on_other_images_are_not_compared(runs: list[Run], tmp_path: Path) -> None:
    path = tmp_path / "run"
    shutil.copytree(runs[1].path, path)
    samples = (path / "samples.csv").read_text().replace(".png", ".jpg")
    (path / "samples.csv").write_text(samples)
    page = report([runs[0], path], tmp_path / "r.html")
    assert "were not scored on the same images" in text_of(page)
    assert json.loads(page.with_suffix(".json").read_text())["comparisons"] == []


def test_class_names_are_not_markup(runs: list[Run], tmp_path: Path) -> None:
    path = tmp_path / "run"
    shutil.copytree(runs[0].path, path)
    data = json.loads((path / "data.json").read_text())
    evil = "</script><img src=x onerror=alert(1)>"
    (path / "data.json").write_text(json.dumps(data | {"classes": [evil, *data["classes"][1:]]}))
    assert evil not in report(path).read_text()


def test_no_runs() -> None:
    with pytest.raises(UserError, match="at least one"):
        report([])


def test_the_python_call_stays_a_function() -> None:
    """Importing a subpackage sets its name on the package: none may have the name of a call."""
    import pkgutil

    import snellen

    assert not {module.name for module in pkgutil.iter_modules(snellen.__path__)} & set(snellen.__all__)
