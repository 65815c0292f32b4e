"""Pages of runs that take long to train for real: many settings, many classes, groups, runs that were stopped."""

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
from statsmodels.stats.multitest import multipletests
from tests.reporting.fake_runs import Images, Plan, write_images, write_run

from snellen import Run, UserError, report, train
from snellen.reporting.closing import closing_lines
from snellen.reporting.shared import si


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Images:
    return write_images(tmp_path_factory.mktemp("few"), 10, 40)


@pytest.fixture(scope="module")
def run(few: Images, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return write_run(tmp_path_factory.mktemp("one") / "run", few, Plan("deep", 6))


def text_of(page: Path) -> str:
    html = re.sub(r"<(script|style).*?</\1>", " ", page.read_text(), flags=re.DOTALL)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", html)))


def numbers_of(page: Path) -> Any:
    return json.loads(page.with_suffix(".json").read_text())


def points_of(page: Path) -> tuple[list[Any], list[str]]:
    html = page.read_text()
    points = [json.loads(unescape(match)) for match in re.findall(r'class="points">(.*?)</script>', html)]
    return points, json.loads(unescape(re.findall(r'id="class-names">(.*?)</script>', html)[0]))


def test_the_fake_runs_have_the_format_of_real_ones(run: Run, digits: Path, tmp_path: Path) -> None:
    fields = {"epochs": 1, "batch_size": 16, "model.width": 0.125, "hardware.device": "cpu"}
    for part in ("augmentation.size", "augmentation.resize", "evaluation.size"):
        fields[part] = 16
    real_run = train(digits, "airnet-scratch", out=tmp_path / "real", console=Console(quiet=True), overrides=fields)
    for name in ("data", "environment", "status"):
        assert set(getattr(run, name)) == set(getattr(real_run, name))
    for name in ("samples", "metrics", "steps", "predictions"):
        assert list(getattr(run, name)().columns) == list(getattr(real_run, name)().columns)
    assert run.by_epoch().shape == (6, run.data["counts"]["validation"])
    assert [(s.features.dtype, s.rows.dtype) for s in run.snapshots()[:1]] == [
        (s.features.dtype, s.rows.dtype) for s in real_run.snapshots()[:1]
    ]


def test_five_settings_are_answered_in_one_sentence(few: Images, tmp_path: Path) -> None:
    plans = [Plan("a", 5), Plan("b", 5, seed=1), Plan("c", 5, seed=2), Plan("d", 5, 0.02, frozen=True), Plan("e", 5)]
    page = report([write_run(tmp_path / plan.name, few, plan) for plan in plans], tmp_path / "five.html")
    numbers, text = numbers_of(page), text_of(page)
    best = max(numbers["runs"], key=lambda entry: entry["correct"])["label"]
    level = [
        label
        for c in numbers["comparisons"]
        for label, opponent in ((c["a"], c["b"]), (c["b"], c["a"]))
        if opponent == best and c["p_holm"] >= 0.05
    ]
    assert len(numbers["comparisons"]) == 6, "d has not learnt, and is in no comparison"
    p_values = [c["p_value"] for c in numbers["comparisons"]]
    corrected = multipletests(p_values, method="holm")[1]
    assert [c["p_holm"] for c in numbers["comparisons"]] == pytest.approx(list(corrected))
    assert max(corrected - p_values) > 0
    assert level
    assert "d" not in level
    assert "would have been detected with 80% power among 6 pairs." in text
    named = level[0] if len(level) == 1 else f"{', '.join(level[:-1])} and {level[-1]}"
    assert numbers["headline"][0].startswith(f"{best} has the highest top-1")
    assert f"one seed each). It cannot be told apart from {named}." in text
    assert "It beats d" not in text
    assert all(c["sentence"] in text for c in numbers["comparisons"])


def test_runs_with_other_classes_stand_side_by_side(run: Run, tmp_path: Path) -> None:
    images_of_23_classes = write_images(tmp_path / "many", 23, 12)
    other_run = write_run(tmp_path / "other", images_of_23_classes, Plan("wide", 2))
    for runs in ([run, other_run], [other_run, run]):
        page = report(runs, tmp_path / "r.html", force=True)
        assert "were not scored on the same images" in text_of(page)
        points, names = points_of(page)
        for view, data in zip(runs, points, strict=True):
            samples = view.samples().query("split == 'validation'")["class"].to_numpy()
            assert [names[label] for label in data["labels"]] == samples[view.snapshots()[0].rows].tolist()
        for name in (*run.classes, *other_run.classes):
            assert name in text_of(page)


def test_a_run_keeps_its_colour_next_to_one_without_scores(run: Run, few: Images, tmp_path: Path) -> None:
    page = report([write_run(tmp_path / "new", few, Plan("new", 5, stop=0)), run], tmp_path / "r.html")
    assert re.findall(r'class="card (run\d)"', page.read_text()) == ["run1"]
    assert "new has not been scored yet." in text_of(page)
    assert "deep is right on" in text_of(page)


def test_intervals_of_grouped_images_are_called_what_they_are(few: Images, tmp_path: Path) -> None:
    groups = [f"patient {row % 20}" for row in range(len(few.paths))]
    text = text_of(report(write_run(tmp_path / "grouped", few, Plan("grouped", 3), groups)))
    assert "all intervals and tests use the variance between groups" in text
    assert "groups: no interval" not in text


def test_two_groups_have_no_interval_anywhere(few: Images, tmp_path: Path) -> None:
    """Three runs side by side, then each alone: figures without whiskers, the reason in words, null, empty."""
    groups = [f"patient {row % 2}" for row in range(len(few.paths))]
    runs = [write_run(tmp_path / name, few, Plan(name, 5, seed=seed), groups) for seed, name in enumerate("abc")]
    page = report(runs, tmp_path / "three.html")
    numbers, text, table = numbers_of(page), text_of(page), pd.read_csv(page.with_suffix(".csv"))
    assert "whether that is chance cannot be tested here." in numbers["headline"][0]
    assert "no interval and no test" in text
    for comparison in numbers["comparisons"]:
        assert (comparison["interval"], comparison["p_value"], comparison["p_holm"]) == (None, None, None)
        assert "are not compared: only 2 groups." in comparison["sentence"]
    for entry in numbers["runs"]:
        assert entry["no_interval"] == "only 2 groups"
        keys = [key for key in entry if key.endswith("_interval") and key != "no_interval"]
        assert {entry[key] for key in keys} == {None}
        assert all(figures["recall_interval"] is None for figures in entry["classes"])
        assert all(figures["accuracy_interval"] is None for figures in entry["reliability"])
    for name in ("top1", "balanced_accuracy", "macro_f1", "l2_calibration_error"):
        assert table[[f"{name}_low", f"{name}_high"]].isna().all(axis=None)
    assert 'class="whisker' not in page.read_text()
    assert 'class="upright' not in page.read_text()
    assert 'class="dot' in page.read_text()
    single_page = report(runs[0], tmp_path / "one.html")
    assert "no interval (only 2 groups)." in numbers_of(single_page)["headline"][0]
    assert "only 2 groups: no interval" in text_of(single_page)
    assert "(no interval: only 2 groups)" in closing_lines(runs[0].kind.report.view(runs[0].recipe.name, runs[0], 0))[0]


def test_the_reason_for_a_stop_is_stated(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "run"
    shutil.copytree(run.path, path)
    status = run.status.as_dict() | {"state": "failed", "error": "the disk is full."}
    (path / "status.json").write_text(json.dumps(status))
    assert "What stopped it: the disk is full." in text_of(report(path))


def test_a_report_survives_missing_images(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "run"
    shutil.copytree(run.path, path)
    (path / "data.json").write_text(json.dumps(run.data | {"root": str(tmp_path / "gone")}))
    text = text_of(report(path))
    assert "image not found" in text
    assert "no longer where they were" in text


def test_a_report_does_not_reveal_the_path_of_the_images(run: Run) -> None:
    page = report(run)
    assert run.data["root"] not in page.read_text()


def test_points_stay_in_the_frame(run: Run) -> None:
    (data,), _ = points_of(report(run))
    for pictures in data["points"].values():
        coordinates = [value for picture in pictures for point in picture for value in point]
        assert min(coordinates) >= 0
        assert max(coordinates) <= 1000
        assert max(coordinates) - min(coordinates) >= 990


@pytest.mark.parametrize("name", ["report.json", "report.csv", "report"])
def test_a_report_does_not_overwrite_itself(run: Run, tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"report\.html"):
        report(run, tmp_path / name)


@pytest.mark.parametrize(
    ("number", "text"), [(12, "12"), (999, "999"), (127_106, "127 k"), (999_600, "1.00 M"), (11.18e9, "11.2 G")]
)
def test_sizes_have_three_digits(number: float, text: str) -> None:
    assert si(number) == text
