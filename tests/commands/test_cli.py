"""The commands as a user runs them, from images to report, prediction and evaluation."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from tests.hardware import ARGUMENTS

from snellen.cli import main
from snellen.runs import Run

FAST = [
    *("batch_size=16", "model.width=0.125", "augmentation.size=16", "augmentation.resize=16", "evaluation.size=16"),
    *ARGUMENTS,
    "snapshots.images=12",
]


def snellen(*arguments: object, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit code, and everything that was printed on one long line."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["snellen", *map(str, arguments)])
        patch.setenv("COLUMNS", "400")
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return code, captured.out + captured.err


@pytest.fixture(scope="module")
def trained_run(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    from snellen import train

    fields = {key: yaml.safe_load(value) for key, value in (pair.split("=") for pair in FAST)} | {"epochs": 6}
    return train(digits, "airnet-scratch", out=tmp_path_factory.mktemp("runs") / "one", overrides=fields)


def test_train_report_and_everything_in_the_run(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = snellen("train", "airnet-scratch", digits, "epochs=2", *FAST, "--out", tmp_path / "run", capsys=capsys)
    assert code == 0, out
    run = Run(tmp_path / "run")
    assert run.status.state == "finished"
    assert len(run.metrics()) == 2
    counts = run.data["counts"]
    assert len(run.predictions()) == counts["validation"]
    accuracy = run.predictions()["correct"].mean()
    assert accuracy == pytest.approx(run.metrics()["validation_top1"].iloc[-1])
    assert run.status.score == pytest.approx(accuracy)
    assert run.environment.parameters == sum(p.numel() for p in run.model().parameters())
    html = (run.path / "report.html").read_text()
    assert "http://" not in html.replace("http://www.w3.org", "")
    assert "https://" not in html
    code, out = snellen("runs", tmp_path, capsys=capsys)
    assert "finished" in out


def test_without_a_recipe_one_is_chosen_and_printed(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = snellen("train", digits, "epochs=1", *FAST, "--out", tmp_path / "run", capsys=capsys)
    assert code == 0, out
    assert "recipe airnet-scratch: the images are small (shorter side 16 px)" in out


@pytest.mark.usefixtures("known_speed")
def test_budget_is_kept(digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    code, text = snellen("train", "airnet-scratch", digits, "budget=3s", *FAST, "--out", out, capsys=capsys)
    assert code == 0, text
    run = Run(out)
    epochs, steps = run.status.epochs_done, run.status.steps_done
    assert run.recipe.epochs == epochs == int(3 * 0.97 / (steps / epochs * 0.05 + 0.1)) > 1
    assert f"budget 3s: {run.recipe.epochs} epochs" in text


@pytest.mark.usefixtures("known_speed")
def test_budget_below_one_epoch(digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["budget=0.001s", *FAST, "--out", tmp_path / "run"]
    code, text = snellen("train", "airnet-scratch", digits, *arguments, capsys=capsys)
    assert code == 2
    assert "one epoch takes about" in text
    assert not (tmp_path / "run").exists(), "nothing half-made is left"


def test_predict(trained_run: Run, digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    for row, path in enumerate(trained_run.predictions()["path"]):
        (folder / f"{row:03d} é.png").write_bytes((digits / path).read_bytes())
    (folder / "broken.jpg").write_bytes(b"no image")
    table = tmp_path / "p.csv"
    code, out = snellen("predict", trained_run.path, folder, "--out", table, "--top-k", 2, capsys=capsys)
    assert code == 0
    assert "1 unreadable" in out
    predictions = pd.read_csv(table, dtype={"class": str, "class_2": str}).set_index("path")
    assert predictions.columns.tolist() == ["class", "probability", "class_2", "probability_2", "error"]
    bad = predictions.loc[str(folder / "broken.jpg")]
    assert pd.isna(bad["class"])
    assert bad["error"] == "not a readable image"
    readable = predictions[predictions["error"].isna()]
    expected = trained_run.predictions()
    assert readable["class"].tolist() == expected["prediction"].tolist(), "predicting is what validation did"
    np.testing.assert_allclose(readable["probability"], expected["confidence"], atol=1e-5)


def test_predictions_of_few_images_are_printed_and_nothing_is_overwritten(
    trained_run: Run, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(digits.parent)
    image = f"{digits.name}/0/0.png"
    table = tmp_path / "p.csv"
    code, out = snellen("predict", trained_run.path, image, "--out", table, "--top-k", 2, capsys=capsys)
    assert code == 0, out
    (row,) = pd.read_csv(table, dtype=str).to_dict("records")
    first, second = (f"{row[f'class{rank}']} {float(row[f'probability{rank}']):.3f}" for rank in ("", "_2"))
    assert out == f"{image}: {first}, {second}\n1 image predicted, 0 unreadable: {table}\n"
    arguments = ("predict", trained_run.path, image, "--out", table, "--top-k", 2, "--force", "--json")
    printed = json.loads(snellen(*arguments, capsys=capsys)[1])
    assert {key: printed[key] for key in ("path", "predicted", "unreadable")} == {
        "path": str(table),
        "predicted": 1,
        "unreadable": 0,
    }
    assert (printed["rows"][0]["class"], printed["rows"][0]["error"]) == (row["class"], "")
    assert printed["rows"][0]["probability"] == float(row["probability"])
    table.write_text("mine")
    (tmp_path / "folder").mkdir()
    for target, message in ((table, "already exists"), (tmp_path / "folder", "is a folder; expected a file name")):
        code, out = snellen("predict", trained_run.path, image, "--out", target, capsys=capsys)
        assert (code, message in out) == (2, True), out
    assert table.read_text() == "mine"
    code, _ = snellen("predict", trained_run.path, image, "--out", table, "--force", capsys=capsys)
    assert (code, table.read_text()[:4]) == (0, "path")


def test_a_report_replaces_only_the_runs_own(
    trained_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert snellen("report", trained_run.path, capsys=capsys)[0] == 0
    for name in ("report.html", "report.json"):
        (tmp_path / name).write_text("mine")
        code, out = snellen("report", trained_run.path, trained_run.path, capsys=capsys)
        assert (code, f"{name}: already exists" in out) == (2, True), out
        assert (tmp_path / name).read_text() == "mine"
        (tmp_path / name).unlink()
    (tmp_path / "folder.html").mkdir()
    code, out = snellen("report", trained_run.path, "--out", "folder.html", capsys=capsys)
    assert (code, "a folder" in out) == (2, True)


def test_evaluate_gives_the_reports_figures(
    trained_run: Run, digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in trained_run.predictions()["path"]:
        target = tmp_path / "scored" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((digits / path).read_bytes())
    code, out = snellen("evaluate", trained_run.path, tmp_path / "scored", "--out", tmp_path / "e.json", capsys=capsys)
    assert code == 0, out
    figures = json.loads((tmp_path / "e.json").read_text())
    _, printed = snellen("evaluate", trained_run.path, tmp_path / "scored", "--json", capsys=capsys)
    assert json.JSONDecoder().raw_decode(printed)[0] == figures  # notes on standard error follow
    report = json.loads((trained_run.path / "report.json").read_text())["runs"][0]
    for key in ("images", "correct", "top1", "top1_interval", "balanced_accuracy", "macro_f1"):
        assert figures[key] == pytest.approx(report[key])
    assert figures["l2_calibration_error"] == pytest.approx(report["l2_calibration_error"], abs=1e-4)
    assert "l2 calibration error" in out


def test_a_run_provides_weights(
    trained_run: Run, digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["epochs=1", f"model.weights={trained_run.path}", "model.freeze=true", *FAST, "--out", tmp_path / "run"]
    code, out = snellen("train", "airnet-scratch", digits, *arguments, capsys=capsys)
    assert code == 0, out
    source_state, state = trained_run.model().backbone.state_dict(), Run(tmp_path / "run").model().backbone.state_dict()
    assert all(source_state[name].equal(state[name]) for name in source_state)


def test_resume_refuses_changed_images(tmp_path: Path, digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import shutil

    images = tmp_path / "images"
    shutil.copytree(digits, images)
    code, _ = snellen("train", "airnet-scratch", images, "epochs=1", *FAST, "--out", tmp_path / "run", capsys=capsys)
    assert code == 0
    code, out = snellen("train", "--resume", tmp_path / "run", capsys=capsys)
    assert (code, "this run is finished" in out) == (2, True)
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    (tmp_path / "run" / "status.json").write_text(json.dumps(status | {"state": "interrupted"}))
    next(images.rglob("*.png")).unlink()
    code, out = snellen("train", "--resume", tmp_path / "run", capsys=capsys)
    assert (code, "the images have changed" in out) == (2, True)


def test_unreadable_images_stop_or_are_listed(tmp_path: Path, digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import shutil

    images = tmp_path / "images"
    shutil.copytree(digits, images)
    (images / "0" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    arguments = ["train", "airnet-scratch", images, "epochs=1", *FAST, "--out", tmp_path / "run"]
    code, out = snellen(*arguments, capsys=capsys)
    assert code == 2
    assert re.search(r"bad.png: .*data.unreadable=skip", out, re.DOTALL)
    assert not (tmp_path / "run").exists()
    code, out = snellen(*arguments, "data.unreadable=skip", capsys=capsys)
    assert code == 0, out
    assert "bad.png" in json.loads((tmp_path / "run" / "data.json").read_text())["left_out"][0]["path"]
    code, out = snellen("check", images, capsys=capsys)
    assert "unreadable" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "vgg13-scratch"], "is a recipe; the images are missing"),
        (["train", "airnet-scratch", "{digits}", "optimizer.lrr=1"], "Did you mean 'optimizer.lr'"),
        (["train", "airnet-scrach", "{digits}"], "Did you mean 'airnet-scratch'"),
        (["train", "finetune-lite", "{digits}", "model.backbone=resnet5"], "Did you mean"),
        (["train", "finetune-lite", "{digits}", "model.weights={digits}/0/0.png"], "not a file of weights"),
        (["train", "airnet-scratch", "{digits}", "--out", "{digits}"], "not an empty folder"),
        (["train", "airnet-scratch", "{digits}", "hardware.device=cuda:9"], "CUDA devices here"),
        (["train", "airnet-scratch", "nowhere"], "no such file or folder"),
        (["predict", "nowhere", "{digits}"], "not a run directory"),
        (["report", "{digits}"], "not a run directory"),
        (["recipes", "show", "vgg"], "no such recipe"),
        (["runs", "{digits}"], "no runs here"),
    ],
)
def test_mistakes_are_reported_without_a_traceback(
    arguments: list[str], message: str, digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files_before = set(tmp_path.rglob("*"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        code, out = snellen(*[a.format(digits=digits) for a in arguments], capsys=capsys)
    assert code == 2, out
    assert message in out
    assert {path for path in tmp_path.rglob("*") if path.name != "runs"} == files_before


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["optimizer.lr=1e30", "optimizer.bias_rate=1", "epochs=3", *FAST, "--out", tmp_path / "run"]
    code, out = snellen("train", "airnet-scratch", digits, *arguments, capsys=capsys)
    assert code == 2
    assert re.search(r"the loss is (nan|inf) at step \d+", out)
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "failed"


def test_recipes_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    _, out = snellen("recipes", capsys=capsys)
    assert "vgg13-scratch" in out
    _, out = snellen("recipes", "show", "vgg13-scratch", capsys=capsys)
    assert out.startswith("# VGG13")


def test_odd_images_train(tmp_path: Path, digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Grey, palette, CMYK, 16 bits, one pixel, very wide, very long and foreign names: all in one folder."""
    generator = np.random.default_rng(0)
    for name in ("é", "b"):
        folder = tmp_path / "odd" / name
        folder.mkdir(parents=True)
        photo = Image.fromarray(generator.integers(0, 256, (30, 24, 3), dtype=np.uint8))
        for n in range(6):
            photo.rotate(10 * n).save(folder / f"{n}{'x' * 200}.png")
        photo.convert("P").save(folder / "palette.png")
        photo.convert("CMYK").save(folder / "cmyk.jpg")
        photo.convert("L").save(folder / "写.png")
        photo.resize((1, 1)).save(folder / "dot.png")
        photo.resize((5000, 8)).save(folder / "wide.png")
        Image.fromarray(generator.integers(0, 65536, (20, 20), dtype=np.uint16)).save(folder / "deep.png")
    arguments = ["epochs=2", "batch_size=4", *FAST[1:], "data.validation_share=0.3", "--out", tmp_path / "run"]
    code, out = snellen("train", "airnet-scratch", tmp_path / "odd", *arguments, capsys=capsys)
    assert code == 0, out
    assert np.isfinite(Run(tmp_path / "run").metrics()["train_loss"]).all()


def test_nothing_heavy_is_imported_for_help() -> None:
    import subprocess

    script = "import sys, snellen.cli; print('torch' in sys.modules, 'pandas' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=os.environ, check=True)
    assert process.stdout.split() == ["False", "False"]
