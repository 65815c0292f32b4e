"""Segmentation as a user runs it: from images with masks to a run, its figures, and runs that start from others."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from rich.console import Console
from tests.commands.test_cli import snellen
from tests.hardware import ARGUMENTS, FP32
from torchmetrics.functional.classification import multiclass_jaccard_index

from snellen import train
from snellen.insight.segmentation import counts_of, mask_figures, miou
from snellen.models.segmenters.segmenter import Segmenter
from snellen.runs import Run
from snellen.tasks.segmentation.evaluate import EvaluatedMasks
from snellen.tasks.segmentation.task import MaskScores

FAST = [
    *("batch_size=4", "augmentation.size=[32,32]", "augmentation.resize=null", "evaluation.resize=null"),
    *("model.architecture=unet/test_resnet", "model.weights=null", "snapshots.images=2"),
    *ARGUMENTS,
]
LAND_COVER = ["urban", "agriculture", "rangeland", "forest", "water", "barren"]


@pytest.fixture(scope="module")
def trained_run(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    recipe = {
        "task": "segmentation",
        "name": "scenes",
        "epochs": 4,
        "batch_size": 4,
        "model": {"architecture": "unet/test_resnet"},
        "optimizer": {"name": "adamw", "lr": 0.003},
        "hardware": FP32,
        "snapshots": {"images": 2, "epochs": [1, 4], "names": ["0015_sat"]},
    }
    return train(scenes, recipe, out=tmp_path_factory.mktemp("runs") / "scenes", console=Console(quiet=True))


def test_the_run_holds_what_its_docstring_says(trained_run: Run) -> None:
    assert trained_run.status.state == "finished"
    assert trained_run.data["classes"] == LAND_COVER
    assert trained_run.data["colours"][0] == [0, 255, 255]
    counts = trained_run.data["counts"]
    assert counts == {"train": 11, "validation": 5}
    samples = trained_run.samples()
    assert samples.columns.tolist() == ["row", "split", "path", "mask", "group"]
    assert all((Path(trained_run.data["root"]) / name).is_file() for name in [*samples["path"], *samples["mask"]])

    metrics, validation = trained_run.metrics(), trained_run.validation()
    assert metrics["validation_miou"].max() == pytest.approx(miou(validation.confusion))
    headline = trained_run.kind.report.view("", trained_run, 0).headline_figure
    assert headline is not None
    assert (trained_run.status.measure, trained_run.status.score) == ("mIoU", pytest.approx(headline[1]))
    assert int(validation.confusion.sum()) + trained_run.data["ignored_pixels"]["validation"] == 5 * 48 * 48
    by_epoch = trained_run.by_epoch()
    assert by_epoch.shape == (4, 5, 6, 3)
    assert (by_epoch[validation.epoch - 1] == counts_of(validation.confusion)).all()
    table = trained_run.predictions()
    assert table["path"].tolist() == samples[samples["split"] == "validation"]["path"].tolist()
    right, all_pixels = np.trace(validation.confusion, axis1=1, axis2=2), validation.confusion.sum((1, 2))
    np.testing.assert_allclose(table["pixel_accuracy"].astype(float), right / all_pixels, atol=1e-6)
    assert trained_run.environment["macs"] > 0


def test_figures_are_those_of_the_network_that_was_kept(trained_run: Run) -> None:
    """The kept network over each image by hand: the mIoU is torchmetrics', of the whole set."""
    model = trained_run.model()
    assert isinstance(model, Segmenter)
    normalization = trained_run.data["normalization"]
    mean, std = (torch.tensor(normalization[key])[:, None, None] for key in ("mean", "std"))
    colours = np.array(trained_run.data["colours"])
    samples = trained_run.samples()
    predictions, truths = [], []
    for row in samples[samples["split"] == "validation"].itertuples():
        pixels = np.asarray(Image.open(trained_run.image(row.path)).convert("RGB"))
        mask = np.asarray(Image.open(trained_run.image(row.mask)).convert("RGB"))
        images = (torch.tensor(pixels).permute(2, 0, 1) / 255 - mean) / std
        with torch.no_grad():  # evaluation pads to a multiple of 32 with the mean colour
            logits = model(torch.nn.functional.pad(images[None], (0, 16, 0, 16)))[:, :, :48, :48]
        predictions.append(logits.argmax(1)[0])
        match = (mask[:, :, None] == colours).all(-1)
        truths.append(torch.tensor(np.where(match.any(-1), match.argmax(-1), 255)))
    prediction, truth = torch.stack(predictions), torch.stack(truths)
    expected = multiclass_jaccard_index(prediction, truth, 6, average="macro", ignore_index=255)
    assert miou(trained_run.validation().confusion) == pytest.approx(expected.item(), abs=2e-4)

    snapshots = trained_run.snapshots()
    assert [snapshot.epoch for snapshot in snapshots] == [1, 4]
    names = samples[samples["split"] == "validation"]["path"].iloc[snapshots[0].rows]
    assert any("0015_sat" in name for name in names)
    if trained_run.status.chosen_epoch == 4:
        for mask, row in zip(snapshots[1].masks, snapshots[1].rows, strict=True):
            assert (mask == prediction[row].numpy()).mean() > 0.999


def test_without_a_recipe_masks_are_recognised(
    scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = snellen("train", scenes, "epochs=1", *FAST, "--out", tmp_path / "run", capsys=capsys)
    assert code == 0, out
    assert "recipe segment-lite: the images have masks and there is no GPU" in out
    assert "11 training and 5 validation images with masks, 6 classes" in out
    assert Run(tmp_path / "run").recipe.task == "segmentation"
    code, out = snellen("runs", tmp_path, capsys=capsys)
    assert "mIoU" in out


def test_evaluate_gives_the_runs_figures(
    trained_run: Run, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = snellen("evaluate", trained_run.path, scenes, "--out", tmp_path / "e.json", capsys=capsys)
    assert code == 0, out
    assert "boundary F, 3 px" in out
    figures = json.loads((tmp_path / "e.json").read_text())
    validation = trained_run.validation()
    expected = mask_figures(counts_of(validation.confusion), validation.boundary)
    assert figures["miou"] == pytest.approx(expected.miou)
    assert figures["boundary_f"] == pytest.approx(expected.boundary_f)
    assert figures["miou_interval"] is figures["over_the_others"] is None
    assert figures["no_interval"] == "only 5 images"
    assert "no interval: only 5 images" in out
    code, out = snellen("evaluate", trained_run.path, scenes / "nowhere", capsys=capsys)
    assert code == 2


@pytest.mark.parametrize("kind", ["classification", "segmentation"])
def test_a_run_provides_weights(
    kind: str, trained_run: Run, digits: Path, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A classifier's backbone becomes the encoder, frozen here; from a segmenter everything is loaded."""
    source = trained_run
    if kind == "classification":
        recipe = {"epochs": 1, "batch_size": 16, "augmentation": {"size": 32}, "model": {"backbone": "test_resnet"}}
        source = train(digits, recipe, out=tmp_path / "digits", console=Console(quiet=True))
    arguments = ["epochs=1", f"model.weights={source.path}", "model.freeze=true", "--out", tmp_path / "run"]
    fast = [argument for argument in FAST if not argument.startswith("model.weights")]
    code, out = snellen("train", "segment-lite", scenes, *fast, *arguments, capsys=capsys)
    assert code == 0, out
    run = Run(tmp_path / "run")
    assert run.data["normalization"]["mean"] == source.data["normalization"]["mean"]
    source_state, state = source.model().backbone.state_dict(), run.model().backbone.state_dict()
    assert all(
        tensor.equal(source_state[name.removeprefix("" if kind == "segmentation" else "model.")])
        for name, tensor in state.items()
    )
    loaded = run.environment.weights.loaded
    output_layers = 2 if kind == "segmentation" else 0  # its weight and bias start anew
    assert loaded == len(source.model().state_dict() if kind == "segmentation" else source_state) - output_layers


@pytest.mark.usefixtures("known_speed")
def test_budget_is_kept(scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    code, text = snellen("train", "segment-lite", scenes, "budget=3s", *FAST, "--out", out, capsys=capsys)
    assert code == 0, text
    run = Run(out)
    assert run.recipe.epochs == run.status.epochs_done > 1
    assert f"budget 3s: {run.recipe.epochs} epochs" in text


def test_images_without_a_scored_pixel_have_no_effect(
    scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Most masks are all unknown, so some batches are: their loss is 0."""
    data = tmp_path / "data"
    shutil.copytree(scenes, data)
    for path in sorted((data / "train").glob("*_mask.png"))[1:]:
        Image.new("RGB", (48, 48)).save(path)
    arguments = ["epochs=2", *FAST, "batch_size=2", "accumulation=1", "augmentation.scale=[1,1]"]
    code, out = snellen("train", "segment-lite", data, *arguments, "--out", tmp_path / "run", capsys=capsys)
    assert code == 0, out
    assert "10 training masks have no scored pixel" in out
    losses = Run(tmp_path / "run").steps()["loss"]
    assert (losses == 0).any()
    assert np.isfinite(losses).all()
    assert np.isfinite(Run(tmp_path / "run").metrics()["validation_miou"].iloc[-1])


def test_images_of_several_sizes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whole images of sizes that differ, scored at a reduced one: counts are at each mask's own resolution."""
    generator = np.random.default_rng(0)
    pixels = 0
    for number, (width, height) in enumerate([(40, 33), (64, 64), (50, 70), (35, 35)] * 3):
        side = "train" if number < 8 else "val"
        for kind in ("images", "masks"):
            (tmp_path / "data" / side / kind).mkdir(parents=True, exist_ok=True)
        mask = generator.integers(0, 3, (5, 5), dtype=np.uint8).repeat(14, 0).repeat(13, 1)[:height, :width]
        Image.fromarray(mask * 80).convert("RGB").save(tmp_path / "data" / side / "images" / f"{number:02d}.png")
        Image.fromarray(mask).save(tmp_path / "data" / side / "masks" / f"{number:02d}.png")
        pixels += width * height if side == "val" else 0
    arguments = ["epochs=2", *FAST, "augmentation.size=null", "evaluation.resize=32", "snapshots.images=9"]
    code, out = snellen(
        "train", "segment-lite", tmp_path / "data", *arguments, "--out", tmp_path / "run", capsys=capsys
    )
    assert code == 0, out
    run = Run(tmp_path / "run")
    assert run.validation().confusion.sum() == pixels
    snapshot = run.snapshots()[-1]
    assert snapshot.sizes.tolist() == [[33, 40], [64, 64], [70, 50], [35, 35]]
    for mask, (height, width) in zip(snapshot.masks, snapshot.sizes, strict=True):
        assert (mask[:height, :width] < 3).all()
        assert (mask[height:] == 255).all()
        assert (mask[:, width:] == 255).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["segment-lite", "{digits}"], "no images with masks"),
        (["airnet-scratch", "{scenes}"], "To train on the masks: snellen train segment-lite"),
        (["segment-lite", "{scenes}", "loss.terms.dise=1"], "Did you mean 'dice'"),
        (["segment-lite", "{scenes}", "loss.terms={{cross_entropy: 0}}"], "one of them above 0"),
        (
            ["segment-lite", "{scenes}", "loss.class_weights=even"],
            "loss.class_weights: 'even' is not one of 'balanced'",
        ),
        (["segment-lite", "{scenes}", "loss.class_weights.wood=2"], "no class 'wood'"),
        (["segment-lite", "{scenes}", "snapshots.names=[0016_sat]"], "Did you mean '0015_sat'"),
        (["segment-lite", "{scenes}", "model.backbone=resnet18"], "model.backbone: no such field"),
        (["segment-lite", "{scenes}", "model.architecture=unet/resnet5"], "no such encoder"),
        (["segment-lite", "{scenes}", "accumulation=4"], "accumulation=4 leaves parts of one image"),
        (["segment-lite", "{scenes}", "normalization.source=backbone"], "no weights with a known normalisation"),
    ],
)
def test_mistakes_are_reported_without_a_traceback(
    arguments: list[str],
    message: str,
    digits: Path,
    scenes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe, data, *overrides = (argument.format(digits=digits, scenes=scenes) for argument in arguments)
    fast = FAST if recipe == "segment-lite" else ["epochs=1"]
    code, out = snellen("train", recipe, data, *fast, *overrides, "--out", tmp_path / "run", capsys=capsys)
    assert code == 2, out
    assert message in out
    assert not (tmp_path / "run").exists()


def test_resume_refuses_changed_masks(scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    shutil.copytree(scenes, data)
    code, _ = snellen("train", "segment-lite", data, "epochs=1", *FAST, "--out", tmp_path / "run", capsys=capsys)
    assert code == 0
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    (tmp_path / "run" / "status.json").write_text(json.dumps(status | {"state": "interrupted"}))
    Image.new("RGB", (48, 48), (0, 255, 0)).save(next((data / "train").glob("*_mask.png")))
    code, out = snellen("train", "--resume", tmp_path / "run", capsys=capsys)
    assert (code, "the images have changed" in out) == (2, True)


def test_the_tables_are_plain(trained_run: Run) -> None:
    """pandas reads them with its defaults."""
    table = pd.read_csv(trained_run.path / "predictions" / "validation.csv")
    assert table["miou"].between(0, 1).all()
    assert len(pd.read_csv(trained_run.path / "epochs.csv")) == 4


def test_an_evaluation_marks_a_class_in_few_images() -> None:
    generator = np.random.default_rng(0)
    confusion = np.zeros((14, 3, 3), np.int64)
    confusion[:, :2, :2] = generator.integers(20, 90, (14, 2, 2))
    confusion[:4, 2, 2] = 30
    boundary = np.full((14, 3, 4), 3)
    scores = MaskScores(confusion, boundary, 0.1)
    figures = mask_figures(counts_of(confusion), boundary)
    evaluation = EvaluatedMasks(["sky", "road", "sign"], figures, scores, [str(row) for row in range(14)], 3, [])
    console = Console(file=io.StringIO(), width=160, record=True)
    console.print(evaluation.render())
    text = console.export_text()
    assert figures.common is not None
    interval = figures.common.miou_interval
    assert interval is not None
    common_line = f"{figures.common.miou:.4f}  95% interval {interval.low:.4f} to {interval.high:.4f}"
    assert re.search(rf"mIoU, over sky and road +{common_line}", text)
    assert "no interval: sign is in too few images (fewer than 10)" in text
    assert re.search(r"sign .* too few images", text)
    assert "no interval: sign is in too few images" in repr(evaluation)
