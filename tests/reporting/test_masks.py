"""The page of segmentation runs says what the runs' own files say, and shows their masks."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from dataclasses import replace
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from rich.console import Console
from statsmodels.stats.multitest import multipletests
from tests.commands.test_predict_masks import FAST
from tests.reporting.fake_masks import MaskPlan, Scenes, draw_scenes, write_mask_run

from snellen import Run, UserError, report, train
from snellen.insight.proportions import Interval
from snellen.insight.segmentation import mask_figures, paired_masks
from snellen.reporting.closing import closing_lines
from snellen.study.answer import answer, verdict
from snellen.study.results import Results, _cell, _pairs
from snellen.study.spec import StudySpec
from snellen.tasks.segmentation.report.collect import mask_values
from snellen.tasks.segmentation.report.masks import TrueMasks, mask_picture, reduced
from snellen.tasks.segmentation.report.sections import choose

SMALL = {"snapshots.images": 5}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Scenes:
    return draw_scenes(tmp_path_factory.mktemp("scenes"), 54, (48, 64))


@pytest.fixture(scope="module")
def runs(scenes: Scenes, tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    folder = tmp_path_factory.mktemp("runs")
    plans = [MaskPlan("wide", 4, overrides=SMALL), MaskPlan("narrow", 4, blurs=(), overrides=SMALL)]
    plans.append(MaskPlan("again", 4, seed=1, overrides={"snapshots.images": 8}))
    return [write_mask_run(folder / plan.name, scenes, plan) for plan in plans]


@pytest.fixture(scope="module")
def page(runs: list[Run], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report(runs[:2], tmp_path_factory.mktemp("report") / "both.html")


def text_of(page: Path) -> str:
    html = re.sub(r"<(script|style).*?</\1>", " ", page.read_text(), flags=re.DOTALL)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", html)))


def numbers_of(page: Path) -> Any:
    return json.loads(page.with_suffix(".json").read_text())


def test_the_fake_runs_have_the_format_of_real_ones(runs: list[Run], scenes: Scenes, tmp_path: Path) -> None:
    real_run = train(
        scenes.root, "segment-lite", out=tmp_path / "r", console=Console(quiet=True), overrides=FAST | SMALL
    )
    fake = runs[0]
    for name in ("data", "environment", "status"):
        fake_fields, fields = (json.loads((r.path / f"{name}.json").read_text()) for r in (fake, real_run))
        assert fake_fields.keys() == fields.keys()
    for name in ("samples", "metrics", "predictions"):
        assert list(getattr(fake, name)().columns) == list(getattr(real_run, name)().columns)
    for actual, expected in [
        (fake.validation(), real_run.validation()),
        (fake.snapshots()[0], real_run.snapshots()[0]),
    ]:
        for key, value in vars(actual).items():
            if isinstance(value, np.ndarray):
                assert (value.dtype, value.shape) == (vars(expected)[key].dtype, vars(expected)[key].shape)
    assert real_run.by_epoch().shape[1:] == fake.by_epoch().shape[1:]
    text = text_of(report(real_run))
    assert f"{100 * real_run.status.score:.1f}%" in text


def test_figures_are_those_of_the_files(runs: list[Run], page: Path) -> None:
    numbers, text = numbers_of(page), text_of(page)
    table = pd.read_csv(page.with_suffix(".csv"))
    for run, run_numbers, row in zip(runs, numbers["runs"], table.to_dict("records"), strict=False):
        counts = mask_values(run, run.recipe.evaluation.choose).counts.sum(0)
        right, true = counts[:, 0], counts[:, 0] + counts[:, 2]
        iou = right / counts.sum(1)
        assert run_numbers["miou"] == pytest.approx(iou.mean()) == row["miou"]
        assert run_numbers["miou_interval"] == [row["miou_low"], row["miou_high"]]
        assert [entry["iou"] for entry in run_numbers["classes"]] == pytest.approx(iou.tolist())
        figures = mask_figures(mask_values(run, run.recipe.evaluation.choose).counts, run.validation().boundary)
        for name in ("miou", "pixel_accuracy", "dice", "boundary_f"):
            assert run_numbers[f"{name}_interval"] == ends(getattr(figures, f"{name}_interval"))
        bounds = [entry["iou_interval"] for entry in run_numbers["classes"]]
        assert bounds == [ends(entry.iou_interval) for entry in figures.classes]
        assert len({tuple(entry) for entry in bounds}) == len(bounds) == 6
        assert "{:.1f} to {:.1f}".format(*(100 * end for end in bounds[3])) in text
        assert run_numbers["pixel_accuracy"] == pytest.approx(right.sum() / true.sum())
        assert f"{100 * iou.mean():.1f}" in text
        assert [entry["miou"] for entry in run_numbers["per_image"]] == pytest.approx(
            run.predictions()["miou"].tolist(), abs=1e-6
        )


def test_the_comparison_is_paired_over_images(runs: list[Run], page: Path) -> None:
    comparison = numbers_of(page)["comparisons"][0]
    expected = paired_masks(*(mask_values(run, run.recipe.evaluation.choose).counts for run in runs[:2]))
    assert comparison["difference"] == pytest.approx(expected.difference)
    assert comparison["interval"] == ends(expected.interval)
    assert comparison["measure"] == "mIoU"
    assert (comparison["better_a"], comparison["better_b"]) == (expected.better_a, expected.better_b)
    assert comparison["sentence"] in text_of(page)


def test_several_runs_are_corrected_for_their_number(runs: list[Run], tmp_path: Path) -> None:
    page = report(runs, tmp_path / "three.html")
    comparisons = numbers_of(page)["comparisons"]
    assert len(comparisons) == 3
    corrected = multipletests([c["p_value"] for c in comparisons], method="holm")[1]
    assert [c["p_holm"] for c in comparisons] == pytest.approx(list(corrected))
    assert max(c["p_holm"] - c["p_value"] for c in comparisons) > 0
    assert "Holm's correction" in text_of(page)


def pictures(html: str, variable: str) -> list[Image.Image]:
    matches = re.findall(rf"{variable}[:(]+(?:url\()?data:image/\w+;base64,([\w+/=]+)", html)
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in matches]


def test_masks_and_truth_are_shown_in_the_classes_colours(runs: list[Run], scenes: Scenes, tmp_path: Path) -> None:
    html = report(runs[0], tmp_path / "one.html").read_text()
    snapshots = runs[0].snapshots()
    assert [snapshot.epoch for snapshot in snapshots] == [1, 2, 4]
    label_pictures = [
        np.asarray(picture.convert("RGBA")) for picture in pictures(html, 'labels" style="background-image')
    ]
    truths = [np.asarray(picture.convert("RGBA")) for picture in pictures(html, "--truth")]
    assert len(label_pictures) == 3 * len(truths) == 15
    colours = np.array(runs[0].data["colours"])
    labels = scenes.labels[~scenes.train]
    rows = snapshots[0].rows.tolist()
    for truth in truths:
        is_scored = truth[..., 3] > 0
        row = next(row for row in rows if np.array_equal(labels[row] < 255, is_scored))
        np.testing.assert_array_equal(truth[is_scored][:, :3], colours[labels[row][is_scored]])
    first = {mask.tobytes() for mask in (colours[snapshots[0].masks]).astype(np.uint8)}
    assert {picture[..., :3].tobytes() for picture in label_pictures[::3]} == first


def test_mistakes_are_where_scored_pixels_differ(runs: list[Run], scenes: Scenes, tmp_path: Path) -> None:
    html = report(runs[0], tmp_path / "one.html").read_text()
    wrong = sorted(
        int((np.asarray(picture.convert("RGBA"))[..., 3] > 0).sum())
        for picture in pictures(html, 'errors" style="background-image')
    )
    labels = scenes.labels[~scenes.train]
    snapshots = runs[0].snapshots()
    expected = [
        int(((mask != labels[row]) & (labels[row] < 255)).sum())
        for snapshot in snapshots
        for mask, row in zip(snapshot.masks, snapshot.rows, strict=True)
    ]
    assert wrong == sorted(expected)


def test_named_images_come_first(scenes: Scenes, tmp_path: Path) -> None:
    name = Path(scenes.names[np.flatnonzero(~scenes.train)[2]]).name + "_sat"
    plan = MaskPlan("named", 2, overrides={"snapshots.images": 8, "snapshots.names": [name]})
    html = report(write_mask_run(tmp_path / "run", scenes, plan)).read_text()
    assert re.findall(r"<h4><code>(.*?)</code> <span class=\"why\">(\w+)<", html)[0] == (f"{name}.jpg", "named")


def test_choice_of_images() -> None:
    scores = np.array([0.5, np.nan, 0.9, 0.1, 0.7, 0.3])
    assert choose([0, 1, 2, 3, 5], scores, []) == [(2, "best"), (0, "median"), (3, "worst"), (5, ""), (1, "")]
    assert choose([2], scores, [2]) == [(2, "named")]
    assert choose([1], scores, []) == [(1, "")]


def test_truth_is_read_as_it_was_for_training(runs: list[Run], scenes: Scenes) -> None:
    truths = TrueMasks(runs[0])
    for name, labels in zip(scenes.names, scenes.labels, strict=True):
        truth = truths.of(f"{name}_sat.jpg")
        assert truth is not None
        np.testing.assert_array_equal(truth, labels)


def test_a_reduced_mask_contains_only_its_own_classes() -> None:
    mask = np.random.default_rng(0).choice(np.array([0, 3, 255], np.uint8), (301, 97))
    small = reduced(mask, 100)
    assert small.shape == (100, 32)
    assert set(np.unique(small)) == {0, 3, 255}
    assert mask_picture(small, [(0, 0, 0)] * 4).startswith("data:image/png;base64,")


def test_the_page_needs_nothing_else(page: Path) -> None:
    html = page.read_text()
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", html)
    assert not re.findall(r"url\((?!data:)", html)
    assert len(html) < 10_000_000


def test_a_report_survives_missing_images_and_masks(runs: list[Run], tmp_path: Path) -> None:
    path = tmp_path / "run"
    shutil.copytree(runs[0].path, path)
    (path / "data.json").write_text(json.dumps(runs[0].data | {"root": str(tmp_path / "gone")}))
    text = text_of(report(path))
    assert "image not found" in text
    assert "no longer where they were" in text


def test_a_run_without_scores_and_a_stopped_one(scenes: Scenes, tmp_path: Path) -> None:
    unscored = write_mask_run(tmp_path / "new", scenes, MaskPlan("new", 4, stop=0))
    stopped_run = write_mask_run(tmp_path / "stopped", scenes, MaskPlan("stopped", 4, stop=2))
    text = text_of(report([unscored, stopped_run], tmp_path / "r.html"))
    assert "new has not been scored yet." in text
    assert "stopped is interrupted: 2 of 4 epochs done." in text


def ends(interval: Interval | None) -> list[float]:
    assert interval is not None
    return [interval.low, interval.high]


def few_barren(scenes: Scenes, kept: int) -> Scenes:
    """The same scenes with barren land in the truth of so many validation images alone."""
    labels = scenes.labels.copy()
    labels[(labels == 5) & ~np.isin(np.arange(len(labels)), np.flatnonzero(~scenes.train)[:kept])[:, None, None]] = 2
    labels[np.flatnonzero(~scenes.train)[:kept], :8, :8] = 5
    return replace(scenes, labels=labels)


def with_validation(scenes: Scenes, images: int) -> Scenes:
    """The same scenes with so many of the validation images."""
    rows = np.flatnonzero(scenes.train).tolist() + np.flatnonzero(~scenes.train)[:images].tolist()
    names = [scenes.names[row] for row in rows]
    return Scenes(scenes.root, names, scenes.pixels[rows], scenes.labels[rows], scenes.train[rows])


def test_a_class_in_too_few_images_is_named(scenes: Scenes, tmp_path: Path) -> None:
    first, second = (
        write_mask_run(tmp_path / name, few_barren(scenes, 3), MaskPlan(name, 2, seed=seed))
        for seed, name in enumerate(("one", "two"))
    )
    page = report(first, tmp_path / "one.html")
    numbers, text = numbers_of(page)["runs"][0], text_of(page)
    names = "urban, agriculture, rangeland, forest and water"
    assert numbers["miou_interval"] is numbers["dice_interval"] is numbers["boundary_f_interval"] is None
    assert numbers["no_interval"] == "barren is in too few images (fewer than 10)"
    common = numbers["over_the_others"]
    assert ", ".join(common["classes"]) == names.replace(" and", ",")
    figures = mask_figures(mask_values(first, first.recipe.evaluation.choose).counts[:, :5])
    assert common["miou"] == pytest.approx(figures.miou)
    assert common["miou_interval"] == pytest.approx(ends(figures.miou_interval))
    low, high = (100 * end for end in common["miou_interval"])
    sentence = f"over {names} {common['miou']:.1%}, 95% interval {low:.1f} to {high:.1f}"
    assert text.count(sentence) == 2
    dice = (100 * end for end in common["dice_interval"])
    assert "over the others {:.1%}, {:.1f} to {:.1f}".format(common["dice"], *dice) in text
    assert f"{numbers['miou']:.1%} on 18 validation images, without an interval: barren" in text
    assert [entry["too_few_images"] for entry in numbers["classes"]] == [False] * 5 + [True]
    assert numbers["classes"][5]["iou_interval"] is None
    assert f"{100 * numbers['classes'][5]['iou']:.1f} too few images" in text
    row = pd.read_csv(page.with_suffix(".csv")).iloc[0]
    assert np.isnan(row["miou_low"])
    assert row["over_the_others_miou_low"] == pytest.approx(common["miou_interval"][0])
    assert (
        f"(no interval: barren is in too few images (fewer than 10); {sentence})"
        in closing_lines(first.kind.report.view(first.recipe.name, first, 0))[0]
    )

    page = report([first, second], tmp_path / "both.html")
    comparison = numbers_of(page)["comparisons"][0]
    assert comparison["measure"] == f"mIoU over {names}"
    assert f"points of mIoU over {names}, 95% interval" in comparison["sentence"]
    assert comparison["sentence"] in text_of(page)


def test_too_few_images_for_any_interval(scenes: Scenes, tmp_path: Path) -> None:
    few = with_validation(scenes, 5)
    runs = [write_mask_run(tmp_path / f"few {seed}", few, MaskPlan(f"few {seed}", 2, seed=seed)) for seed in range(2)]
    page = report(runs, tmp_path / "few.html")
    numbers, text = numbers_of(page), text_of(page)
    assert [run["no_interval"] for run in numbers["runs"]] == ["only 5 images"] * 2
    assert numbers["runs"][0]["pixel_accuracy_interval"] is None
    comparison = numbers["comparisons"][0]
    assert comparison["interval"] is comparison["p_value"] is comparison["p_holm"] is None
    assert "few 0 and few 1 are not compared: only 5 images." in text
    assert "beats" not in text
    assert "(no interval: only 5 images)" in closing_lines(runs[0].kind.report.view(runs[0].recipe.name, runs[0], 0))[0]
    report(runs[0], tmp_path / "one.html")
    assert "without an interval: only 5 images" in text_of(tmp_path / "one.html")


def test_a_study_is_over_the_classes_in_enough_images(scenes: Scenes, tmp_path: Path) -> None:
    subset = few_barren(scenes, 3)
    runs = [write_mask_run(tmp_path / str(seed), subset, MaskPlan("net", 2, seed=seed)) for seed in range(2)]
    cell = _cell("net", 1.0, dict(enumerate(runs)))
    assert cell.judged.over_classes == "urban, agriculture, rangeland, forest and water"
    counts = [mask_values(run, run.recipe.evaluation.choose).counts[:, :5] for run in runs]
    expected = [mask_figures(run_counts).miou for run_counts in counts]
    assert cell.judged.values.mean(1) == pytest.approx(expected)
    assert cell.no_interval is None
    other_cell = _cell("other", 1.0, {0: runs[1]})
    pair = _pairs([_cell("net", 1.0, {0: runs[0]}), other_cell])[0]
    paired_test = paired_masks(*(mask_values(run, run.recipe.evaluation.choose).counts for run in runs))
    assert pair.over.mean == pytest.approx(paired_test.difference)
    assert pair.over.p_value == pytest.approx(paired_test.p_value, rel=0.05), "but for the degrees of freedom"
    interval = _cell("net", 1.0, {0: runs[0]}).interval
    assert ends(interval) == pytest.approx(ends(mask_figures(counts[0]).miou_interval)), "that of the run's own page"


def test_a_study_on_too_few_images_compares_nothing(scenes: Scenes, tmp_path: Path) -> None:
    few = with_validation(scenes, 5)
    run = write_mask_run(tmp_path / "few", few, MaskPlan("few", 2))
    cells = [_cell(name, 1.0, {0: run}) for name in ("one", "two")]
    assert [cell.interval for cell in cells] == [None, None]
    study: Any = SimpleNamespace(
        spec=StudySpec.model_validate({"recipe": "segment-lite", "settings": [{"name": "one"}, {"name": "two"}]})
    )
    results = Results(study, cells, _pairs(cells), [])
    assert results.pairs[0].better is None
    study_answer = answer(results)[0]
    assert "without a verdict: only 5 images" in study_answer.headline
    assert "(no interval: only 5 images)" in study_answer.details[0]
    assert results.pairs[0].p_holm is results.pairs[0].over.interval is None
    assert "only 5 images" in verdict(results.pairs[0])


def test_groups_are_left_out_whole(scenes: Scenes, tmp_path: Path) -> None:
    groups = [f"field {row % 5}" for row in range(len(scenes.names))]
    assert "jackknife over whole groups of images" in text_of(
        report(write_mask_run(tmp_path / "run", scenes, MaskPlan("grouped", 2), groups))
    )


def test_kinds_of_runs_are_not_mixed(runs: list[Run], tmp_path: Path) -> None:
    path = tmp_path / "other"
    path.mkdir()
    (path / "recipe.yaml").write_text("name: x\ntask: classification\n")
    with pytest.raises(UserError, match="different kinds"):
        report([runs[0], Run(path)], tmp_path / "r.html")
