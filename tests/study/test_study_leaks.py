"""A study without leaked images: scores and verdicts, computed by hand from the runs' predictions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.reporting.fake_masks import MaskPlan, draw_scenes, write_mask_run
from tests.reporting.fake_runs import Plan, write_images, write_run
from tests.reporting.test_build import text_of
from tests.reporting.test_pages import made_study

from snellen import Run
from snellen.insight.seeds import uncertainty
from snellen.insight.segmentation import counts_of, iou, mask_figures
from snellen.study.directory import StudyDirectory, write_study
from snellen.study.leaks import without_leaks
from snellen.study.plan import Plan as StudyPlan
from snellen.study.plan import PlannedRun
from snellen.study.report import build_study_report
from snellen.study.results import read_results
from snellen.study.spec import StudySpec


@pytest.fixture
def study(tmp_path: Path) -> StudyDirectory:
    """Settings "wide" and "slow", two seeds each, on ten digits."""
    return made_study(tmp_path / "study", write_images(tmp_path / "images", 10, 60))


def leak(path: Path, rows: Sequence[int]) -> None:
    data = json.loads((path / "data.json").read_text())
    (path / "data.json").write_text(json.dumps(data | {"leaked": {"validation": [int(row) for row in rows]}}))


def correct_of(study: StudyDirectory, setting: str) -> np.ndarray[Any, Any]:
    runs = [Run(run.path) for run in study.runs if run.setting == setting]
    return np.stack([run.predictions()["correct"].to_numpy().astype(float) for run in runs])


def test_nothing_is_said_of_a_study_without_leaks(study: StudyDirectory, tmp_path: Path) -> None:
    assert without_leaks(read_results(study)) is None
    page = build_study_report(study, tmp_path / "study.html")
    assert "leaked" not in text_of(page).lower()
    assert json.loads(page.with_suffix(".json").read_text())["without_leaked"] is None


def test_a_verdict_that_rests_on_leaked_images_changes(study: StudyDirectory, tmp_path: Path) -> None:
    """The better setting is ahead on images that are leaked, half of them in a run of the other setting."""
    wide, slow = correct_of(study, "wide"), correct_of(study, "slow")
    results = read_results(study)
    assert [pair.verdict for pair in results.pairs] == ["wide"]
    rows = np.flatnonzero(wide.mean(0) > slow.mean(0))
    leak(study.runs[0].path, rows[::2])
    leak(study.runs[3].path, rows[1::2])
    others = ~np.isin(np.arange(wide.shape[1]), rows)

    found = without_leaks(read_results(study))
    assert found is not None
    for score, correct in zip(found.scores, (wide, slow), strict=True):
        assert (score.without.leaked, score.without.images) == (len(rows), others.sum())
        assert score.without.value == pytest.approx(correct[:, others].mean())
        assert score.without.value == pytest.approx(score.cell.over.mean)
        assert score.without.change == pytest.approx(correct[:, others].mean() - correct.mean())
    (pair,) = found.pairs
    assert pair.after.over.mean == pytest.approx((wide - slow)[:, others].mean())
    assert pair.after.over.mean <= 0
    assert pair.before.verdict == "wide"
    assert pair.is_changed

    page = build_study_report(study, tmp_path / "study.html")
    numbers, text = json.loads(page.with_suffix(".json").read_text())["without_leaked"], text_of(page)
    assert numbers["sentence"] in text
    assert f"Without the {len(rows)} leaked images" in numbers["sentence"]
    assert numbers["sentence"].endswith("and the verdict changes.")
    assert numbers["pairs"][0]["verdict_on_all_images"] == "wide"
    assert numbers["pairs"][0]["verdict"] != "wide"


def test_intervals_and_tests_are_those_of_the_study(study: StudyDirectory) -> None:
    """Leaked images drawn at random: what a study of the other images alone would say."""
    rows = np.random.default_rng(0).choice(200, 40, replace=False)
    for run in study.runs:
        leak(run.path, rows)
    found = without_leaks(read_results(study))
    assert found is not None
    others = ~np.isin(np.arange(200), rows)
    difference = (correct_of(study, "wide") - correct_of(study, "slow"))[:, others]
    (pair,) = found.pairs
    assert pair.after.p_holm == pair.after.over.p_value == pytest.approx(uncertainty(difference).over.p_value)
    assert not pair.is_changed
    assert found.headline.endswith("and the verdict stays the same.")
    for score in found.scores:
        assert score.without.interval == score.cell.interval
        assert score.cell.interval is not None
        assert score.cell.interval.low < score.without.value < score.cell.interval.high


def test_a_study_whose_scored_images_are_all_leaked_says_so(study: StudyDirectory, tmp_path: Path) -> None:
    leak(study.runs[0].path, range(200))
    page = build_study_report(study, tmp_path / "study.html")
    assert "All scored images are copies of images that the runs were trained on." in text_of(page)
    assert json.loads(page.with_suffix(".json").read_text())["without_leaked"]["settings"] == []


def test_each_share_of_the_labels_has_its_own_leaked_images(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", 10, 60)
    runs = []
    for setting, fraction in (("a", 0.1), ("b", 0.1), ("a", 1.0), ("b", 1.0)):
        path = tmp_path / "study" / "runs" / f"{setting}-{fraction:g}"
        run = write_run(path, images, Plan(setting, 2, overrides={"evaluation.choose": "last"}))
        runs.append(PlannedRun(setting, fraction, 0, run.recipe, path.name, path))  # type: ignore[arg-type]
        leak(path, range(10) if fraction == 1 else [])
    fields = {"name": "shares", "recipe": "airnet-scratch", "settings": [{"name": "a"}, {"name": "b"}], "seeds": 1}
    spec = StudySpec.model_validate(fields | {"fractions": [0.1, 1.0]})
    study = write_study(tmp_path / "study", spec, StudyPlan(None, tuple(runs)), "images", "", {})
    found = without_leaks(read_results(study))
    assert found is not None
    assert [(score.cell.setting, score.cell.fraction) for score in found.scores] == [("a", 1.0), ("b", 1.0)]
    assert [pair.after.a.fraction for pair in found.pairs] == [1.0]
    assert "with 100% of the labels has" in found.headline
    page = build_study_report(study, tmp_path / "study.html")
    assert found.headline in text_of(page)


def test_masks_have_their_miou_without_leaked_images(tmp_path: Path) -> None:
    scenes = draw_scenes(tmp_path / "scenes", 72, (32, 32))
    runs, rows = [], [0, 3, 7]
    for name, seed in (("a", 0), ("a", 1), ("b", 0)):
        path = tmp_path / "study" / "runs" / f"{name}-{seed}"
        plan = MaskPlan(name, 2, seed=seed, overrides={"evaluation.choose": "last"})
        runs.append(PlannedRun(name, 1.0, seed, write_mask_run(path, scenes, plan).recipe, path.name, path))  # type: ignore[arg-type]
        leak(path, rows)
    fields = {"name": "masks", "recipe": "segment-lite", "settings": [{"name": "a"}, {"name": "b"}]}
    spec = StudySpec.model_validate(fields | {"seeds": [0, 1]})
    study = write_study(tmp_path / "study", spec, StudyPlan(None, tuple(runs)), "scenes", "", {})
    found = without_leaks(read_results(study))
    assert found is not None
    for score, paths in zip(found.scores, ([runs[0].path, runs[1].path], [runs[2].path]), strict=True):
        by_run = []
        for path in paths:
            with Run(path).arrays("predictions/validation.npz") as arrays:
                by_run.append(counts_of(arrays["confusion"].astype(np.int64)))
        others = ~np.isin(np.arange(len(by_run[0])), rows)
        values = [np.nanmean(iou(of_run[others].sum(0))) for of_run in by_run]
        on_all = [np.nanmean(iou(of_run.sum(0))) for of_run in by_run]
        assert score.without.value == pytest.approx(np.mean(values))
        assert score.without.change == pytest.approx(np.mean(values) - np.mean(on_all))
        assert score.without.value == pytest.approx(score.cell.over.mean)
    expected = mask_figures(by_run[0][others]).miou_interval
    assert expected is not None
    assert found.scores[1].without.interval == expected
    page = build_study_report(study, tmp_path / "study.html")
    assert found.headline in text_of(page)
