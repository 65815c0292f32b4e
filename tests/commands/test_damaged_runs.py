"""Runs of which a file is damaged, gone or in the way, and names that look like a console's markup."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.recipes import DIGITS as RECIPE
from typer.testing import CliRunner

from snellen import UserError, check, compare, evaluate, load, predict, report, train
from snellen.cli import app
from snellen.commands.runs import runs, runs_table
from snellen.runs import Run
from snellen.study.directory import state_of

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def finished_run(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(digits, RECIPE, out=tmp_path_factory.mktemp("runs") / "whole", console=QUIET)


@pytest.fixture
def run(finished_run: Run, tmp_path: Path) -> Path:
    shutil.copytree(finished_run.path, tmp_path / "runs" / "run")
    return tmp_path / "runs" / "run"


def text_of(renderable: Any) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("content", ["", '{"state": "fini', "[]", '{"state": "finished"}'])
def test_one_damaged_status_hides_no_other_run(content: str, run: Path) -> None:
    shutil.copytree(run, run.with_name("sound"))
    (run / "status.json").write_text(content)
    rows = runs(run.parent)
    assert [row.state for row in rows] == ["damaged", "finished"]
    assert "status.json" in rows[0].why
    assert "finished" in text_of(runs_table(rows))
    if content in {"", '{"state": "fini'}:
        with pytest.raises(UserError, match=r"status\.json: damaged"):
            state_of(run)


@pytest.mark.parametrize("kept_share", [0, 4, 0.5])
def test_damaged_weights_are_named_with_what_to_do(kept_share: float, run: Path, digits: Path, tmp_path: Path) -> None:
    best = run / "checkpoints" / "best.safetensors"
    content = best.read_bytes()
    best.write_bytes(content[: int(kept_share if kept_share > 1 else kept_share * len(content))])
    advice = r"best\.safetensors: damaged.*last epoch.*cp .*last\.safetensors"
    for call in (
        lambda: predict(run, digits / "0", out=tmp_path / "p.csv", console=QUIET),
        lambda: evaluate(run, digits),
        lambda: load(run).model(),
    ):
        with pytest.raises(UserError, match=advice):
            call()
    load(run).model("last")
    (run / "checkpoints" / "last.safetensors").unlink()
    with pytest.raises(UserError, match=r"damaged.*Train the run again"):
        load(run).model()


@pytest.mark.parametrize("name", ["samples.csv", "epochs.csv", "predictions/validation.npz"])
@pytest.mark.parametrize("kept_share", [0.0, 0.1, 0.5], ids=["empty", "tenth", "half"])
def test_the_report_names_a_damaged_file(name: str, kept_share: float, run: Path) -> None:
    file = run / name
    content = file.read_bytes()
    if name == "epochs.csv" and kept_share == 0.5:  # a whole row fewer is what a run that was stopped has
        content = content.replace(b"\n1,", b"\n\0\0", 1)
        kept_share = 1.0
    file.write_bytes(content[: int(kept_share * len(content))])
    with pytest.raises(UserError, match=rf"{name}: damaged"):
        report(run)


def remove_column(file: Path, column: str) -> None:
    """Renames a column of a table, or a key of a JSON file."""
    text = file.read_text()
    assert column in text
    file.write_text(text.replace(column, "xyz", 1))


@pytest.mark.parametrize(("name", "column"), [
    ("epochs.csv", "validation_loss"), ("epochs.csv", "seconds"), ("samples.csv", "target"), ("samples.csv", "path"),
    ("data.json", "split"), ("data.json", "fingerprint"), ("environment.json", "parameters"),
    ("environment.json", "packages"), ("status.json", "seconds_evaluating"), ("status.json", "chosen_epoch"),
])  # fmt: skip
def test_a_missing_column_or_key_is_reported_with_its_file(
    name: str, column: str, run: Path, finished_run: Run, digits: Path, tmp_path: Path
) -> None:
    remove_column(run / name, column)
    for call in (lambda: report(run), lambda: report([finished_run, run], tmp_path / "report.html")):
        with pytest.raises(UserError, match=rf"{name}: damaged.*'{column}' is missing"):
            call()
    if name in {"samples.csv", "data.json"}:
        with pytest.raises(UserError, match=rf"{name}: damaged"):
            evaluate(run, digits, quiet=True)
    assert ("damaged" in text_of(runs_table(runs(run.parent)))) == (name == "status.json")


def test_a_damaged_file_of_a_study_is_named(finished_run: Run, digits: Path, tmp_path: Path) -> None:
    settings = [{"name": "a"}, {"name": "b", "changes": {"optimizer.lr": 0.01}}]
    folder = tmp_path / "study"
    compare({"recipe": RECIPE | {"epochs": 1}, "settings": settings}, digits, out=folder, quiet=True, seeds=[0])
    first = next((folder / "runs").glob("a-*"))
    for file, column in (
        (first / "samples.csv", "target"),
        (first / "status.json", "seconds_evaluating"),
        (first / "data.json", "split"),
        (folder / "study.json", "pretraining"),
    ):
        text = file.read_text()
        remove_column(file, column)
        with pytest.raises(UserError, match=rf"{file.name}: damaged.*'{column}' is missing"):
            report(folder)
        file.write_text(text)
    (first / "predictions" / "correct.u8").unlink()
    with pytest.raises(UserError, match=r"correct\.u8: missing"):
        report(folder)
    (folder / "study.json").unlink()
    with pytest.raises(UserError, match=r"study\.json of this study is missing"):
        report(folder)


@pytest.mark.parametrize("kept_share", [1.0, 0.0])
def test_a_damaged_or_missing_table_of_right_images_is_named(kept_share: float, run: Path) -> None:
    file = run / "predictions" / "correct.u8"
    if kept_share:
        file.write_bytes(file.read_bytes()[:-1])
    else:
        file.unlink()
    with pytest.raises(UserError, match=rf"correct\.u8: {'damaged' if kept_share else 'missing'}.*Train the run again"):
        report(run)


@pytest.mark.parametrize(
    "name", ["epochs.csv", "predictions/validation.npz", "predictions/validation.csv", "snapshots"]
)
def test_the_report_says_which_file_is_gone(name: str, run: Path) -> None:
    assert "missing from the run" not in report(run).read_text()
    shutil.rmtree(run / name) if name == "snapshots" else (run / name).unlink()
    page = report(run).read_text()
    assert "missing from the run" in page
    assert name in page


def test_predictions_are_not_made_for_a_folder(run: Path, digits: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=r"folder: is a folder"):
        predict(run, digits / "0", out=tmp_path / "folder", console=QUIET)


@pytest.mark.parametrize("names", [("[red]", "[/x]", "[bold"), ("a[/]", "[link=x]", "b\\")])
def test_names_are_printed_as_they_are(names: tuple[str, ...], digits: Path, tmp_path: Path) -> None:
    images = tmp_path / "[green] photos"
    for label, name in enumerate(names):
        shutil.copytree(digits / str(label), images / (name.replace("/", "∕") if "/" in name else name))
    displayed_names = [name.replace("/", "∕") for name in names]
    table = tmp_path / "table.csv"
    rows = [
        f"{digits / str(label) / f'{number}.png'},{name}" for label, name in enumerate(names) for number in range(12)
    ]
    table.write_text("\n".join(["path,label", *rows]))
    for data, expected in ((images, displayed_names), (table, list(names))):
        result = CliRunner().invoke(app, ["check", str(data)])
        assert result.exception is None, result.exception
        assert all(name in result.output for name in expected), result.output
    console = Console(file=io.StringIO(), width=300)
    run = train(table, RECIPE | {"epochs": 1}, out=tmp_path / "[red] run", console=console)
    assert isinstance(console.file, io.StringIO)
    assert "[red] run" in console.file.getvalue()
    assert "[red] run" in text_of(runs_table(runs(tmp_path)))
    (tmp_path / "[blue].png").write_bytes(b"no image")
    captured = Console(file=io.StringIO(), width=300)
    predict(run, [tmp_path / "[blue].png", digits / "0" / "0.png"], out=tmp_path / "p.csv", console=captured)
    assert isinstance(captured.file, io.StringIO)
    assert "[blue].png" in captured.file.getvalue()
    evaluation = evaluate(run, table)
    assert evaluation is not None
    assert check(table) is not None


def test_leftovers_of_a_killed_set_up_are_not_a_run(run: Path) -> None:
    """Without --out nobody comes back to its folder: it has a name of its own."""
    for number, names in enumerate(
        ([".lock"], [".lock", "samples.csv", "data.json", "environment.json", "status.json"])
    ):
        leftover = run.parent / f"airnet-scratch-{number}"
        leftover.mkdir()
        for name in names:
            (leftover / name).write_text("")
    output = io.StringIO()
    Console(file=output, width=200).print(runs_table(runs(run.parent)))
    assert "airnet-scratch" not in output.getvalue()
    assert "finished" in output.getvalue()
    for path in run.iterdir():
        if path.name in {"recipe.yaml", "status.json"}:
            path.unlink()
    with pytest.raises(UserError, match="no runs here"):
        runs(run.parent)
