"""What a run is judged by: cross-fitted where its epoch was chosen by its score, and what is not is labelled."""

from __future__ import annotations

import json
import re
import shutil
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score
from tests.reporting.fake_masks import MaskPlan, draw_scenes, write_mask_run
from tests.reporting.fake_runs import Images, Plan, write_images, write_run

from snellen import Run, report
from snellen.insight.crossfit import best_by_miou, best_by_share, crossfitted, partition
from snellen.reporting.closing import closing_lines
from snellen.study.results import _cell
from snellen.tasks.classification.record import classes_by_epoch
from snellen.tasks.classification.report.collect import class_values
from snellen.tasks.segmentation.report.collect import mask_values

LABEL = "from the kept weights, on the images used to choose them"


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Images:
    return write_images(tmp_path_factory.mktemp("few"), 10, 30)


@pytest.fixture(scope="module")
def best(few: Images, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return write_run(tmp_path_factory.mktemp("best") / "run", few, Plan("best", 8))


@pytest.fixture(scope="module")
def last(few: Images, tmp_path_factory: pytest.TempPathFactory) -> Run:
    plan = Plan("last", 8, overrides={"evaluation.choose": "last"})
    return write_run(tmp_path_factory.mktemp("last") / "run", few, plan)


def text_of(page: Path) -> str:
    html = re.sub(r"<(script|style).*?</\1>", " ", page.read_text(), flags=re.DOTALL)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", html)))


def numbers_of(page: Path) -> Any:
    return json.loads(page.with_suffix(".json").read_text())


def folds_of(run: Run) -> Any:
    samples = run.samples()
    return partition(samples.loc[samples["split"] == "validation", "path"].tolist())


def test_figures_of_a_chosen_epoch_are_crossfitted(best: Run, tmp_path: Path) -> None:
    by_epoch, classes, target = best.by_epoch(), classes_by_epoch(best), best.validation().target
    assert classes is not None
    folds = folds_of(best)
    epochs = best_by_share(by_epoch, folds)
    predicted = crossfitted(classes, folds, epochs)
    page = report(best, tmp_path / "best.html")
    numbers, text = numbers_of(page)["runs"][0], text_of(page)
    assert numbers["crossfitted"]
    assert numbers["correct"] == int((predicted == target).sum())
    assert numbers["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(target, predicted))
    assert numbers["macro_f1"] == pytest.approx(f1_score(target, predicted, average="macro"))
    assert numbers["kept_top1"] == pytest.approx(best.status.score) == by_epoch.mean(1).max()
    assert f"The headline is cross-fitted: top-1 {numbers['top1']:.1%}" in text
    assert f"The kept weights' score on the images used to choose them is {numbers['kept_top1']:.1%}" in text
    assert f"Top-5 and calibration error: {LABEL}" in text
    assert text.count(f"F{LABEL[1:]}") == 3, "confusions, calibration, mistakes"
    assert closing_lines(best.kind.report.view(best.recipe.name, best, 0)) == [
        f"best epoch {best.status.chosen_epoch}, cross-fitted: top-1 {numbers['top1']:.1%} "
        f"({100 * numbers['top1_interval'][0]:.1f} to {100 * numbers['top1_interval'][1]:.1f})",
        f"its score on the images used to choose it: {numbers['kept_top1']:.1%}",
    ]


def test_the_paired_test_takes_crossfitted_values(best: Run, last: Run, tmp_path: Path) -> None:
    comparison = numbers_of(report([best, last], tmp_path / "two.html"))["comparisons"][0]
    a = class_values(best, best.recipe.evaluation.choose).correct
    b = last.validation().probabilities.argmax(1) == last.validation().target
    assert (comparison["only_a"], comparison["only_b"]) == (int((a & ~b).sum()), int((b & ~a).sum()))
    assert f"{LABEL} (best)" in text_of(tmp_path / "two.html")


def test_the_last_epoch_is_scored_as_it_is(last: Run, tmp_path: Path) -> None:
    page = report(last, tmp_path / "last.html")
    numbers, text = numbers_of(page)["runs"][0], text_of(page)
    assert not numbers["crossfitted"]
    assert numbers["top1"] == numbers["kept_top1"] == last.by_epoch()[-1].mean()
    assert "the last; it was not chosen by its score" in text
    assert LABEL not in text
    assert "cross-fitted" not in text


def test_a_single_epoch_is_not_chosen(few: Images, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", few, Plan("brief", 1))
    text = text_of(report(run))
    assert "epoch 1, the only one, so no epoch was chosen by its score" in text
    assert LABEL not in text


def test_runs_of_an_older_version_say_what_is_not_crossfitted(best: Run, tmp_path: Path) -> None:
    shutil.copytree(best.path, tmp_path / "old")
    (tmp_path / "old" / "predictions" / "classes.u1").unlink()
    page = report(tmp_path / "old")
    numbers, text, predictions = numbers_of(page)["runs"][0], text_of(page), best.validation()
    assert numbers["top1"] == class_values(best, best.recipe.evaluation.choose).correct.mean()
    assert numbers["balanced_accuracy"] == pytest.approx(
        balanced_accuracy_score(predictions.target, predictions.probabilities.argmax(1))
    )
    assert f"Top-5, balanced accuracy, macro F1 and calibration error: {LABEL}" in text


def test_a_single_group_cannot_be_crossfitted(few: Images, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", few, Plan("alone", 4), ["patient 1"] * len(few.paths))
    values = class_values(run, run.recipe.evaluation.choose)
    assert values.choice.by_score
    assert not values.choice.is_crossfitted
    assert "A single group of images is scored, so every figure here is affected by that choice" in text_of(report(run))


def test_a_study_takes_crossfitted_values(best: Run, last: Run) -> None:
    cell = _cell("A", 1.0, {0: best, 1: last})
    assert (cell.judged.values[0] == class_values(best, best.recipe.evaluation.choose).correct).all()
    assert (cell.judged.values[1] == last.by_epoch()[-1]).all()
    assert cell.as_dict()["kept_mean"] == pytest.approx((best.status.score + last.status.score) / 2)
    assert _cell("B", 1.0, {1: last}).as_dict()["kept_mean"] is None


def test_masks_are_crossfitted_by_their_pixel_counts(tmp_path: Path) -> None:
    run = write_mask_run(tmp_path / "run", draw_scenes(tmp_path / "scenes", 24, (48, 64)), MaskPlan("masks", 6))
    folds = folds_of(run)
    counts = crossfitted(run.by_epoch(), folds, best_by_miou(run.by_epoch(), folds))
    assert (mask_values(run, run.recipe.evaluation.choose).counts == counts).all()
    page = report(run)
    numbers, text = numbers_of(page)["runs"][0], text_of(page)
    summed = counts.sum(0, dtype=np.int64)
    assert numbers["crossfitted"]
    assert numbers["miou"] == pytest.approx((summed[:, 0] / summed.sum(1)).mean())
    assert numbers["dice"] == pytest.approx((2 * summed[:, 0] / (summed.sum(1) + summed[:, 0])).mean())
    assert numbers["kept_miou"] == pytest.approx(run.status.score)
    assert f"The headline is cross-fitted: mIoU {numbers['miou']:.1%}" in text
    assert f"Boundary F-score: {LABEL}" in text
    cell = _cell("A", 1.0, {0: run})
    assert cell.over.mean == pytest.approx(numbers["miou"])
    assert cell.as_dict()["kept_mean"] == pytest.approx(run.status.score)
