"""`snellen pretrain` on real small images: what it learns, says and refuses."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from safetensors.torch import load_file, save_file
from tests.hardware import HARDWARE

from snellen.commands.predict import predict
from snellen.commands.pretrain import pretrain
from snellen.commands.report import report
from snellen.commands.train import train
from snellen.errors import UserError
from snellen.runs import Run

QUIET = Console(quiet=True)
SMALL: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 32,
    "augmentation.size": 16,
    "evaluation.size": 16,
    "evaluation.collapse": "warn",
    "model.width": 0.125,
    "method.hidden": 32,
    "hardware": HARDWARE,
}


@pytest.fixture
def split(digits: Path, tmp_path: Path) -> Path:
    """The digits in train/ and val/, the first ten of each class held out."""
    for path in digits.rglob("*.png"):
        part = "val" if int(path.stem) < 10 else "train"
        copy = tmp_path / "split" / part / path.parent.name / path.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    return tmp_path / "split"


def test_without_a_recipe_one_is_chosen(digits: Path, tmp_path: Path) -> None:
    output = io.StringIO()
    console = Console(file=output, width=200)
    run = pretrain(digits, overrides=SMALL, out=tmp_path / "run", console=console)
    assert run.recipe.name == "simclr-small"
    assert "recipe simclr-small: the images are small" in output.getvalue()
    assert run.status.epochs_done == 2


def test_the_files_and_notes_of_a_run(split: Path, tmp_path: Path) -> None:
    output = io.StringIO()
    console = Console(file=output, width=200)
    run = pretrain(
        split, "byol-small", overrides=SMALL | {"evaluation.data": str(split)}, out=tmp_path / "run", console=console
    )
    assert "only train/ is used for training; val/ is kept for evaluation" in output.getvalue()
    assert run.data["counts"] == {"train": 90, "known": 90, "validation": 30}
    metrics = run.metrics()
    assert metrics["knn_top1"].notna().all()
    assert metrics["probe_top1"].notna().tolist() == [False, True], "the probe is fitted after the last epoch"
    assert metrics["effective_rank"].between(1, 32).all()
    assert run.by_epoch().mean(1).tolist() == pytest.approx(metrics["knn_top1"].tolist())
    assert run.predictions()["correct"].mean() == pytest.approx(run.status.score)
    page = (run.path / "report.html").read_text()
    assert page.count('alt="a training image"') > 0
    assert "learnt from 90 images without labels" in page
    assert "also trained on" not in page
    numbers = json.loads((run.path / "report.json").read_text())["runs"][0]
    assert numbers["pretraining"]["probe_top1"] == pytest.approx(metrics["probe_top1"].iloc[-1])


def test_scored_images_that_are_also_trained_on_are_reported(digits: Path, tmp_path: Path) -> None:
    overrides = SMALL | {"evaluation.data": str(digits), "epochs": 1}
    run = pretrain(digits, "byol-small", overrides=overrides, out=tmp_path / "run", console=QUIET)
    scored_count = run.data["counts"]["validation"]
    assert f"{scored_count} of {scored_count} scored images are also trained on" in run.data["notes"][-1]


def test_without_labels(digits: Path, tmp_path: Path) -> None:
    run = pretrain(digits, "byol-small", overrides=SMALL, out=tmp_path / "run", console=QUIET)
    assert run.status.score is None
    assert run.metrics()["knn_top1"].isna().all()
    assert "No labelled set was given" in (run.path / "report.html").read_text()
    overrides = {"model.weights": str(run.path), **{key: SMALL[key] for key in ("model.width", "augmentation.size")}}
    second_run = pretrain(digits, "byol-small", overrides=SMALL | overrides, out=tmp_path / "again", console=QUIET)
    assert second_run.environment["weights"]["loaded"] > 0


def test_two_runs_side_by_side(digits: Path, tmp_path: Path) -> None:
    runs = []
    for method in ("byol", "vicreg"):
        overrides = {key: value for key, value in SMALL.items() if key != "method.hidden"}
        overrides |= {
            "method": {"name": method, "hidden": 32},
            "evaluation.data": str(digits),
            "name": method,
            "optimizer.clip_norm": 1.0,
        }
        runs.append(pretrain(digits, "byol-small", overrides=overrides, out=tmp_path / method, console=QUIET))
    page = report(runs, tmp_path / "report.html").read_text()
    assert "k-NN top-1, with 95% intervals" in page
    overrides = {"epochs": 1, "model.width": 0.125, "batch_size": 16, "hardware": SMALL["hardware"]}
    classifier = train(digits, "airnet-scratch", overrides=overrides, out=tmp_path / "c", console=QUIET)
    with pytest.raises(UserError, match="different kinds"):
        report([runs[0], classifier], tmp_path / "mixed.html")


@pytest.mark.slow
def test_vicreg_diverges_at_the_rate_of_others_unless_clipped(digits: Path, tmp_path: Path) -> None:
    """A term of fourth order: at optimizer.lr=0.2 without clipping, this seed reaches 1e27 in four steps."""
    output = io.StringIO()
    fields = {key: value for key, value in SMALL.items() if key != "method.hidden"}
    fields |= {"method": {"name": "vicreg", "hidden": 32}, "seed": 4, "hardware.threads": 1}
    with pytest.raises(UserError, match=r"(the loss is|weights are) n.*for example optimizer\.lr=0\.02"):
        pretrain(digits, "byol-small", overrides=fields, out=tmp_path / "wild", console=Console(file=output, width=400))
    assert "may diverge with optimizer.lr=0.2" in output.getvalue()
    assert "optimizer.clip_norm=1, or optimizer.lr=0.02" in output.getvalue()
    output = io.StringIO()
    clipped = fields | {"optimizer.clip_norm": 1.0}
    run = pretrain(
        digits, "byol-small", overrides=clipped, out=tmp_path / "run", console=Console(file=output, width=400)
    )
    assert run.steps()["loss"].max() < 100
    assert "may diverge" not in output.getvalue()


def test_a_collapse_is_named_and_stops_the_run(digits: Path, tmp_path: Path) -> None:
    picture = next(digits.rglob("*.png"))
    for number in range(40):
        (tmp_path / "same").mkdir(exist_ok=True)
        shutil.copy(picture, tmp_path / "same" / f"{number}.png")
    overrides = SMALL | {"evaluation.collapse": "stop"}
    with pytest.raises(UserError, match="the representation has collapsed"):
        pretrain(tmp_path / "same", "byol-small", overrides=overrides, out=tmp_path / "run", console=QUIET)
    run = Run(tmp_path / "run")
    assert run.status.state == "failed"
    assert not (run.path / "checkpoints" / "last.pt").is_file(), "a collapsed network replaces no good checkpoint"


def test_a_loss_that_is_not_finite(digits: Path, tmp_path: Path) -> None:
    overrides = SMALL | {"optimizer": {"name": "sgd", "lr": 1e30}, "schedule": {"name": "constant"}, "epochs": 20}
    with pytest.raises(UserError, match=r"the loss is nan at step \d+"):
        pretrain(digits, "byol-small", overrides=overrides, out=tmp_path / "run", console=QUIET)


@pytest.mark.parametrize("method", ["byol", "vicreg"])
def test_features_that_are_not_finite(digits: Path, tmp_path: Path, method: str) -> None:
    """One step: its loss and the weights after it are numbers, the features are not."""
    diverging = {
        "optimizer": {"name": "sgd", "lr": 1e30},
        "schedule": {"name": "constant"},
        "epochs": 1,
        "batch_size": 120,
    }
    fields = {key: value for key, value in SMALL.items() if key != "method.hidden"} | diverging
    fields |= {"method": {"name": method, "hidden": 32}, "evaluation.data": str(digits), "evaluation.probe": "always"}
    with pytest.raises(UserError, match=r"outputs for the scored images are not finite after epoch 1\. Start again"):
        pretrain(digits, "byol-small", overrides=fields, out=tmp_path / "run", console=QUIET)


def test_outputs_that_are_not_finite_at_the_start(digits: Path, tmp_path: Path) -> None:
    first = pretrain(digits, "byol-small", overrides=SMALL | {"epochs": 1}, out=tmp_path / "first", console=QUIET)
    file = first.path / "checkpoints" / "best.safetensors"
    weights = load_file(file)
    save_file({name: tensor * 1e30 if tensor.ndim == 4 else tensor for name, tensor in weights.items()}, file)
    overrides = SMALL | {"model.weights": str(file), "evaluation.data": str(digits)}
    with pytest.raises(
        UserError, match=r"outputs for these images are not finite before the first step.*model\.weights"
    ):
        pretrain(digits, "byol-small", overrides=overrides, out=tmp_path / "run", console=QUIET)
    assert not (tmp_path / "run").exists()


def test_impossible_settings_are_refused(digits: Path, tmp_path: Path) -> None:
    def expect_refusal(message: str, data: Path = digits, recipe: str = "byol-small", **overrides: Any) -> None:
        with pytest.raises(UserError, match=message):
            pretrain(data, recipe, overrides=SMALL | overrides, out=tmp_path / "run", console=QUIET)
        assert not (tmp_path / "run").exists()

    (tmp_path / "empty").mkdir()
    expect_refusal("no images", tmp_path / "empty")
    expect_refusal("expected a folder", tmp_path / "nowhere")
    one_class = tmp_path / "one" / "0"
    shutil.copytree(digits / "0", one_class)
    expect_refusal("only one class", **{"evaluation.data": str(tmp_path / "one")})
    with pytest.raises(UserError, match=r"is for classification\. To use it: snellen train"):
        pretrain(digits, "airnet-scratch", out=tmp_path / "run", console=QUIET)
    with pytest.raises(UserError, match=r"is for pretraining\. To use it: snellen pretrain"):
        train(digits, "byol-small", out=tmp_path / "run", console=QUIET)


def test_a_pretraining_run_predicts_nothing(digits: Path, tmp_path: Path) -> None:
    run = pretrain(digits, "byol-small", overrides=SMALL | {"epochs": 1}, out=tmp_path / "run", console=QUIET)
    with pytest.raises(UserError, match="has a backbone and no classes"):
        predict(run.path, [str(digits)], tmp_path / "p.csv")


def test_features_are_evaluated_before_the_first_step(split: Path, tmp_path: Path) -> None:
    """A run that starts from another one starts with its final weights."""
    overrides = SMALL | {"evaluation.data": str(split)}
    first = pretrain(split, "byol-small", overrides=overrides, out=tmp_path / "first", console=QUIET)
    changed_overrides = overrides | {"model.weights": str(first.path)}
    second = pretrain(split, "byol-small", overrides=changed_overrides, out=tmp_path / "second", console=QUIET)
    start, end = second.data["at_start"], first.metrics().iloc[-1]
    assert start["knn_top1"] == end["knn_top1"]
    assert start["effective_rank"] == pytest.approx(end["effective_rank"], rel=1e-4)
    assert "before the first step" in (second.path / "report.html").read_text()
